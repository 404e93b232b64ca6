-- What serves was delivered by Helm, which numbers its revisions, or by Argo CD, which goes to a commit.
ALTER TABLE model_registry_entries
    ADD COLUMN deployment_git_commit text,
    ADD CONSTRAINT slipway_entry_git_commit CHECK (deployment_git_commit ~ '^[0-9a-f]{40}([0-9a-f]{24})?$');

COMMENT ON COLUMN model_registry_entries.deployment_git_commit IS 'Commit that Argo CD went to for the verified release; null where Helm delivers.';
COMMENT ON CONSTRAINT slipway_entry_git_commit ON model_registry_entries IS 'A commit is named in full.';
COMMENT ON COLUMN model_registry_entries.helm_revision IS 'Number in helm history of the verified release; null where Argo CD delivers.';

GRANT INSERT (deployment_git_commit), UPDATE (deployment_git_commit) ON model_registry_entries TO slipway_admin;
