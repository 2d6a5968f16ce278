package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"mintmark/awsreg/hook"
)

// The environment of the functions.
const (
	envTable        = "MINTMARK_TABLE"          // DynamoDB table of the manifest
	envPolicy       = "MINTMARK_POLICY"         // IoT policy that devices get
	envMaxAge       = "MINTMARK_MAX_AGE"        // how old the manifest may be, for example 24h
	envRotation     = "MINTMARK_ROTATION_TABLE" // DynamoDB table of what rotates
	envTopic        = "MINTMARK_ALERT_TOPIC"    // where devices are told; <thing> stands for the thing's name
	envDataEndpoint = "MINTMARK_DATA_ENDPOINT"  // URL that messages are published at; AWS's own if not set
	envESTURL       = "MINTMARK_EST_URL"        // mintmark server, https
	envESTLabel     = "MINTMARK_EST_LABEL"      // its label that takes registration authorities
	envESTCA        = "MINTMARK_EST_CA"         // trust anchors of server and certificates, PEM
	envSecret       = "MINTMARK_SECRET"         // secret with key and certificate of the registration authority
	envCRLs         = "MINTMARK_CRLS"           // URLs of revocation lists, separated by spaces
	envOCSP         = "MINTMARK_OCSP"           // URL of an OCSP responder
	envAnchors      = "MINTMARK_ANCHORS"        // trust anchors of clients, PEM
)

// settings are a function's environment.
type settings struct {
	handler string
	table   string
	policy  string
	maxAge  time.Duration

	rotation     string
	topic        string
	dataEndpoint string

	estURL, estLabel string
	estCA            []*x509.Certificate
	secret           string

	crls    []string
	ocsp    string
	anchors []*x509.Certificate
}

// readSettings fails on anything missing or odd: the function then never starts,
// which is seen at once, instead of letting devices in on a guess. What a handler
// does not take is not read.
func readSettings(getenv func(string) string) (settings, error) {
	s := settings{handler: getenv("_HANDLER")}
	h, ok := handlers[s.handler]
	if !ok {
		return settings{}, fmt.Errorf("handler %q is unknown: set the function's handler to one of %s", s.handler, strings.Join(handlerNames(), ", "))
	}
	for _, name := range h.needs {
		if getenv(name) == "" {
			return settings{}, fmt.Errorf("%s is not set: handler %s needs it", name, s.handler)
		}
	}
	for _, name := range append(slices.Clone(h.needs), h.takes...) {
		if err := s.set(name, getenv(name)); err != nil {
			return settings{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if (len(s.crls) > 0 || s.ocsp != "") && len(s.anchors) == 0 {
		return settings{}, fmt.Errorf("%s is not set: %s and %s need it", envAnchors, envCRLs, envOCSP)
	}
	return s, nil
}

// set takes one variable.
func (s *settings) set(name, value string) (err error) {
	switch name {
	case envTable:
		s.table = value
	case envPolicy:
		s.policy = value
	case envMaxAge:
		s.maxAge, err = maxAge(value)
	case envRotation:
		s.rotation = value
	case envTopic:
		s.topic, err = topic(value)
	case envDataEndpoint:
		s.dataEndpoint, err = address(value, "https", "http")
	case envESTURL:
		s.estURL, err = address(value, "https")
	case envESTLabel:
		s.estLabel = value
	case envESTCA:
		s.estCA, err = anchors(value)
	case envSecret:
		s.secret = value
	case envCRLs:
		for _, text := range strings.Fields(value) {
			if _, err = address(text, "http", "https"); err != nil {
				return err
			}
			s.crls = append(s.crls, text)
		}
	case envOCSP:
		s.ocsp, err = address(value, "http", "https")
	case envAnchors:
		s.anchors, err = anchors(value)
	}
	return err
}

func maxAge(text string) (time.Duration, error) {
	if text == "" {
		return hook.DefaultMaxAge, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, err
	}
	if d <= 0 {
		return 0, fmt.Errorf("it is %s: it must be positive", d)
	}
	return d, nil
}

// topic checks the topic, which must be one of each device's own.
func topic(text string) (string, error) {
	switch {
	case text == "":
		return hook.DefaultTopic, nil
	case strings.Count(text, "<thing>") != 1:
		return "", fmt.Errorf("%q must hold <thing> once, in the place of the thing's name", text)
	case strings.ContainsAny(text, "+#\x00") || strings.HasPrefix(text, "$") || len(text) > 120:
		return "", fmt.Errorf("%q is no topic to publish to", text)
	}
	return text, nil
}

// address checks an absolute URL without credentials; empty stays empty.
func address(text string, schemes ...string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("it is no URL") // url's error would repeat a password
	}
	if !slices.Contains(schemes, u.Scheme) || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", fmt.Errorf("%q is no URL with scheme %s, host and no user", u.Redacted(), strings.Join(schemes, " or "))
	}
	return text, nil
}

// anchors reads certificates in PEM; empty gives none.
func anchors(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	rest := []byte(text)
	for strings.TrimSpace(string(rest)) != "" {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("it holds something that is no certificate in PEM")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing certificate %d: %w", len(list)+1, err)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("certificate %d, %q, is no CA's", len(list)+1, c.Subject)
		}
		list = append(list, c)
	}
	return list, nil
}

func handlerNames() []string {
	var names []string
	for name := range handlers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
