package ca

import "time"

// Bound bounds guests by other numbers than those of the package.
func (d *Door) Bound(most int32, life time.Duration) { d.guests.most, d.guests.life = most, life }

// Guests is how many are here.
func (d *Door) Guests() int { return int(d.guests.here.Load()) }

// Slots is how many certificates are worked on at the same time.
const Slots = slots
