"""How fast the feature pipeline is: against a query by hand, against pandas, as logs grow, and by the day."""
