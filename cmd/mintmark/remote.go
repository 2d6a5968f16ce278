package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/spf13/pflag"

	"mintmark/admin"
)

// remote is a server elsewhere, and how to reach it.
type remote struct {
	server string // https://host:port
	cert   string // file with the caller's certificate and those above it
	key    string // file with its key; the file cert if empty
	ca     string // file with the trust anchor of the server's certificate
}

func (r *remote) bind(flags *pflag.FlagSet) {
	for _, f := range []struct {
		into               *string
		name, env, meaning string
	}{
		{&r.server, "server", "MINTMARK_SERVER", "`URL` of a server elsewhere, as in https://ca.example.org:8444"},
		{&r.cert, "client-cert", "MINTMARK_CLIENT_CERT", "`file` with your certificate, for --server"},
		{&r.key, "client-key", "MINTMARK_CLIENT_KEY", "`file` with its key, if that is another"},
		{&r.ca, "server-ca", "MINTMARK_SERVER_CA", "`file` with the root CA of --server"},
	} {
		flags.StringVar(f.into, f.name, os.Getenv(f.env), f.meaning+" (environment: "+f.env+")")
		flags.Lookup(f.name).DefValue = "" // help says the same everywhere
	}
}

// dial makes a client. Only the given root CA vouches for the server; those that
// the system trusts do not.
func (r *remote) dial() (*admin.Client, error) {
	if r.cert == "" || r.ca == "" {
		return nil, usagef("--server needs --client-cert (mintmark officer enroll writes it) and --server-ca (the server's root.pem)")
	}
	own, err := clientCertificate(r.cert, cmp.Or(r.key, r.cert))
	if err != nil {
		return nil, err
	}
	anchors, err := readCertificates(r.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, c := range anchors {
		roots.AddCert(c)
	}
	client, err := admin.DialTLS(r.server, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*own}})
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	return client, nil
}
