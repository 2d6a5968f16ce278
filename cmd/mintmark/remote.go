package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"mintmark/admin"
)

// remote is a server elsewhere, and how to reach it.
type remote struct {
	server string // https://host:port
	cert   string // file with the caller's certificate and those above it
	key    string // file with its key, or a pkcs11: URI; the file cert if empty
	ca     string // file with the trust anchor of the server's certificate
}

func (r *remote) bind(flags *pflag.FlagSet) {
	for _, f := range []struct {
		into               *string
		name, env, meaning string
	}{
		{&r.server, "server", "MINTMARK_SERVER", "`URL` of a server elsewhere, as in https://ca.example.org:8444"},
		{&r.cert, "client-cert", "MINTMARK_CLIENT_CERT", "`file` with your certificate, for --server"},
		{&r.key, "client-key", "MINTMARK_CLIENT_KEY", "`file` with its key, or a pkcs11: URI, if it is not in the same file"},
		{&r.ca, "server-ca", "MINTMARK_SERVER_CA", "`file` with the root CA of --server"},
	} {
		flags.StringVar(f.into, f.name, os.Getenv(f.env), f.meaning+" (environment: "+f.env+")")
		flags.Lookup(f.name).DefValue = "" // help says the same everywhere
	}
}

// dialRemote reaches the server that --server names, until the returned function
// is called. Only the given root CA vouches for the server; those that the system
// trusts do not.
func (a *app) dialRemote(ctx context.Context) (*admin.Client, func() error, error) {
	r := a.remote
	if r.cert == "" || r.ca == "" {
		return nil, nil, usagef("--server needs --client-cert (mintmark officer enroll writes it) and --server-ca (the server's root.pem)")
	}
	chain, err := readCertificates(r.cert)
	if err != nil {
		return nil, nil, fmt.Errorf("--client-cert: %w", err)
	}
	anchors, err := readCertificates(r.ca)
	if err != nil {
		return nil, nil, fmt.Errorf("--server-ca: %w", err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	for _, c := range anchors {
		config.RootCAs.AddCert(c)
	}
	name := cmp.Or(r.key, r.cert)
	key, done, err := a.openSigner(ctx, name)
	if err != nil {
		return nil, nil, fmt.Errorf("--client-key: %w", err)
	}
	if !samePublicKey(chain[0].PublicKey, key.Public()) {
		return nil, nil, errors.Join(fmt.Errorf("%s is not the key of the first certificate in %s", name, r.cert), done())
	}
	own := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		own.Certificate = append(own.Certificate, c.Raw)
	}
	config.Certificates = []tls.Certificate{own}
	client, err := admin.DialTLS(r.server, config)
	if err != nil {
		return nil, nil, errors.Join(usagef("--server: %w", err), done())
	}
	return client, func() error { return errors.Join(client.Close(), done()) }, nil
}
