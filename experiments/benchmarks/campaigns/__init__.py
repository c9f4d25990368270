"""The benchmark of who redeems the coupons of a campaign."""
