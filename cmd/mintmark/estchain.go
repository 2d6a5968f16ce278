package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// chainFlags say which CAs stand in a file after the certificate.
type chainFlags struct{ issuing, root bool }

func (f *chainFlags) bind(c *cobra.Command, usage string) {
	c.Flags().BoolVar(&f.issuing, "chain", false, usage)
	c.Flags().BoolVar(&f.root, "chain-root", false, "add the issuing CAs and their root, for services that want it in the chain: Azure DPS")
}

// errNoRoot: the root that is wanted in a chain cannot be had.
var errNoRoot = errors.New("the chain has no root")

func (f chainFlags) any() bool { return f.issuing || f.root }

// chainAbove is the chain of a certificate as the flags want it, from what is in known,
// the server's cacerts and the trust anchors, in this order. Without the root that is
// wanted it is errNoRoot, and the rest is returned.
func (f chainFlags) chainAbove(ctx context.Context, e *estFlags, certificate *x509.Certificate, known []*x509.Certificate) ([]*x509.Certificate, error) {
	list, err := e.client.CACerts(ctx)
	if err != nil {
		return nil, err
	}
	known = append(append(known[:len(known):len(known)], list...), e.anchors...)
	issuing, root := pathAbove(certificate, known)
	switch {
	case !f.root:
		return issuing, nil
	case root == nil:
		top := append([]*x509.Certificate{certificate}, issuing...)[len(issuing)]
		return issuing, fmt.Errorf("%w: neither --ca nor the server's cacerts hold the one that signed %q", errNoRoot, top.Subject)
	}
	return append(issuing, root), nil
}

// pathAbove finds the issuing CAs above a certificate and their root, which is nil if it
// is not in the list. It goes by signatures; of several CAs it takes the first.
func pathAbove(certificate *x509.Certificate, list []*x509.Certificate) (issuing []*x509.Certificate, root *x509.Certificate) {
	for child := certificate; len(issuing) < len(list); {
		var parent *x509.Certificate
		for _, c := range list {
			if child.CheckSignatureFrom(c) == nil {
				parent = c
				break
			}
		}
		if parent == nil || selfSigned(parent) {
			return issuing, parent
		}
		issuing = append(issuing, parent)
		child = parent
	}
	return issuing, nil
}

func selfSigned(c *x509.Certificate) bool { return c.CheckSignatureFrom(c) == nil }
