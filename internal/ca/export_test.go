package ca

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/places"
)

// Bound bounds guests by other numbers than those of the package.
func (d *Door) Bound(most, each int, life time.Duration) {
	d.guests.places, d.guests.life = places.New(most, each), life
}

// BoundShaking bounds those who shake hands likewise, and BoundMembers those who show a certificate.
func (d *Door) BoundShaking(most, each int) { d.shaking = places.New(most, each) }

// BoundMembers says of how many connections a workload may have.
func (d *Door) BoundMembers(each int) { d.members = places.New(0, each) }

// Guests is how many are here.
func (d *Door) Guests() int { return d.guests.places.Taken() }

// Members is how many connections of workloads are here, and Shaking those that shake hands.
func (d *Door) Members() int { return d.members.Taken() }

// Shaking is how many shake hands.
func (d *Door) Shaking() int { return d.shaking.Taken() }
