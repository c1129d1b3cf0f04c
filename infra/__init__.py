"""What runs where: the AWS resources, the work pool and their deployment. What does not belong here: what runs."""
