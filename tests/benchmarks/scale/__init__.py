"""How far each store goes: a deployment in simulated time, under AWS's limits."""
