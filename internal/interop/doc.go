// Package interop judges the EST server by clients that we did not write:
// strongSwan, BouncyCastle, curl with openssl, the requests of Azure IoT Edge;
// and by our own. Its test starts the binary that users run and prints a matrix
// (make interop).
//
// It holds nothing but tests.
package interop
