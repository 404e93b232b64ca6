"""What Helm, Git and Argo CD are told and asked: one system a file."""
