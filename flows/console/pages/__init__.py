"""The pages: what `reads` tell, as HTML made on the server, and forms that `actions` take. Nothing is worked out here.

No script is needed, and nothing comes from elsewhere. `looks` has what is looked at, `deeds` what forms do, and `render` the one way to a
template, in which whatever others wrote is text.
"""
