"""The endpoints: each module holds those of one kind of resource, as functions of a Service."""
