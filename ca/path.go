package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// mostPath bounds the certificates of one path, and mostSteps those that are tried.
const (
	mostPath  = 16
	mostSteps = 1000
)

// VerifyPath reports whether who trusts the anchors, and is shown the certificates, takes
// a certificate: nil if so, else why the most promising path ends. It judges like the strictest of
// verifiers in use, for whom package x509 lets too much pass: names are compared byte for byte, key
// identifiers must agree where both are given (OpenSSL), and path lengths, CA flags, key usages
// and dates must hold all the way (RFC 5280, Section 6.1), but for the dates of anchors. Name constraints are not looked
// at. It may be called concurrently.
func VerifyPath(certificate *x509.Certificate, shown, anchors []*x509.Certificate, now time.Time) error {
	if err := inForce(certificate, now); err != nil {
		return err
	}
	steps := 0
	return extend([]*x509.Certificate{certificate}, shown, anchors, now, &steps)
}

// extend looks for a way from the last certificate of a path to an anchor.
func extend(path, shown, anchors []*x509.Certificate, now time.Time, steps *int) error {
	last := path[len(path)-1]
	if slices.ContainsFunc(anchors, last.Equal) {
		return nil
	}
	if len(path) == mostPath {
		return fmt.Errorf("no path of at most %d certificates leads to an anchor", mostPath)
	}
	var why error
	for _, list := range [][]*x509.Certificate{anchors, shown} {
		for _, parent := range list {
			if slices.ContainsFunc(path, parent.Equal) || !bytes.Equal(parent.RawSubject, last.RawIssuer) {
				continue
			}
			if *steps++; *steps > mostSteps {
				return errors.New("there are too many ways to try")
			}
			err := stepUp(path, parent, now)
			if err == nil {
				if err = extend(append(slices.Clone(path), parent), shown, anchors, now, steps); err == nil {
					return nil
				}
			}
			why = errors.Join(why, err)
		}
	}
	if why == nil {
		return fmt.Errorf("the issuer of %s, %q, is neither an anchor nor shown", certName(last), last.Issuer)
	}
	return why
}

// stepUp reports why a certificate cannot stand above a path.
func stepUp(path []*x509.Certificate, parent *x509.Certificate, now time.Time) error {
	if err := certifies(parent, path[len(path)-1]); err != nil {
		return err
	}
	if err := checkCertifying(parent); err != nil {
		return err
	}
	if err := inForce(parent, now); err != nil {
		return err
	}
	below := 0
	for _, c := range path[1:] {
		if !selfIssued(c) {
			below++
		}
	}
	// A CA certificate that is itself judged counts, too.
	if path[0].IsCA && !selfIssued(path[0]) {
		below++
	}
	if limit, ok := pathLen(parent); ok && below > limit {
		return fmt.Errorf("%s allows a path length of %d, the path below it has %d", certName(parent), limit, below)
	}
	return nil
}

func inForce(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("%s is valid from %s to %s, and it is %s", certName(c), c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
