package ca

// Look looks after the files once, as [Authority.Run] does again and again.
func (a *Authority) Look() { a.look() }

// Slots is how many certificates are worked on at the same time.
const Slots = slots
