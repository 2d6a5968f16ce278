package issuer

import "errors"

// ErrForeign says that a certificate was not issued by any of our authorities.
var ErrForeign = errors.New("certificate is not under any of our authorities")

// ErrNoAuthority says that there is no authority of that name.
var ErrNoAuthority = errors.New("no such authority")

// ErrNoProfile says that there is no profile of that name.
var ErrNoProfile = errors.New("no such profile")
