"""What every package uses: settings, errors, progress, files, GPU choice."""
