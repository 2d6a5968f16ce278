// Package child is the process that holds the PKCS#11 library of one token. It is
// the only place of the product that loads one: what a library does to its process,
// it does to this one.
package child

// Main serves as the child and ends the process, if this process was started as
// one; else it returns at once. It must be the first call of main, and of TestMain in
// tests that open tokens.
func Main() {}
