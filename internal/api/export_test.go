package api

import "time"

// Hurry has a client wait for answers as long as this, whatever it asks.
func (c *Client) Hurry(d time.Duration) { c.read, c.write = d, d }
