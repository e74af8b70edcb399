"""GitOps tools and the kinds."""
