package main

import "errors"

// readHidden asks for a secret on the terminal without echo, or reads a line of
// standard input when that is no terminal. The caller wipes what it returns.
func (a *app) readHidden(prompt string) ([]byte, error) { return nil, errors.New("not built yet") }

// readHiddenTwice asks a second time and refuses what differs.
func (a *app) readHiddenTwice(prompt string) ([]byte, error) {
	return nil, errors.New("not built yet")
}
