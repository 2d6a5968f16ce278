package token

// Start looks for the token and its spare now, and logs in where nobody has to type a
// PIN, rather than at the first use of a key. It does not wait. ErrClosed after Close.
func (t *Token) Start() error { return t.begin() }
