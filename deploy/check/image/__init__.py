"""The image, built from `deploy/Dockerfile` by Buildah and run by Podman as `deploy/compose.yaml` says."""
