// Package child is the process that holds the PKCS#11 library of one token. It is
// the only place of the product that loads one: what a library does to its process,
// it does to this one.
//
// It decides nothing. It does what the frames on its socket ask for (package wire)
// and tells what the library returned; whether to try again, to open the token anew
// or to end this process is decided at the other end. It keeps no PIN.
package child
