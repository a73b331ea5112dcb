"""What runs in the pod. Nothing here imports the rest of the project, nor the other way round."""
