package local

// Failure is an error with the next step for the user.
type Failure struct {
	Message string
	Advice  string // "": none
	Cause   error
}

func (f *Failure) Error() string {
	if f.Cause == nil {
		return f.Message
	}
	return f.Message + ": " + f.Cause.Error()
}

func (f *Failure) Unwrap() error { return f.Cause }

// Hint returns the next step.
func (f *Failure) Hint() string { return f.Advice }
