package attest

// SetMost bounds the tokens that can be out by another number than [MostTokens].
func (t *Tokens) SetMost(most int) { t.most = most }
