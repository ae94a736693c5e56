"""The commands of `fieldwatch-agent`, one file each; `main` lists them. A file imports its heavy parts when it runs."""
