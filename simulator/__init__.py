"""The local Amazon: a stand-in for Login with Amazon, the AMC administration API and the AWS services around it.

A program of its own: it imports nothing of the portal, and the portal nothing of it.
"""
