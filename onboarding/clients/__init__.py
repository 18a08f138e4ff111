"""The one box that touches the network: Login with Amazon, the AMC administration API and AWS sessions."""
