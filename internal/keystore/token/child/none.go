//go:build !linux || !cgo || nopkcs11

package child

// Main does nothing: this build has no PKCS#11.
func Main() {}
