package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

var attributePoints = []Point{
	{69, Should, "RFC 7030, 4.5", "csrattrs needs no authentication", "asks with neither certificate nor password", anonymousAttributes},
	{70, Must, "RFC 7030, 4.5.2", "csrattrs answers 200 with application/csrattrs, or 204 or 404", "looks at status, Content-Type and body", attributesAnswer},
	{71, Must, "RFC 7030, 4.5.2", "key types and curves that are demanded are announced", "enrolls a key of each usual type: if some are refused, csrattrs must name the ones to use", keysAnnounced},
	{72, Must, "RFC 9908, 3.2", "at most one extensionRequest, with one value of type Extensions, no extension twice", "takes csrattrs apart", attributeExtensions},
	{73, Must, "RFC 9908, 3.2", "the key is announced by one attribute with the key type, its values curves or RSA sizes", "takes csrattrs apart", attributeKeys},
	{74, Must, "RFC 9908, 3.4", "a template has version 0 and well-formed names and extensions", "takes the template apart, if there is one", attributeTemplate},
	{75, Derived, "RFC 7030, 4.5; RFC 9908, 3", "what csrattrs announces is what enrollment takes", "enrolls a key of each announced type, and of each usual type that is not announced", announcedEnforced},
	{96, Interop, "measured: libest", "nothing to announce is 204 or 404, never an empty SEQUENCE", "looks at the body of csrattrs", noEmptyAttributes},
}

func anonymousAttributes(ctx context.Context, p *probe) Result {
	a, err := p.askCSRAttrs(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		return fail("csrattrs answered %v", a)
	}
	return pass("%v", a)
}

func attributesAnswer(ctx context.Context, p *probe) Result {
	a, err := p.askCSRAttrs(ctx)
	if err != nil {
		return fail("%v", err)
	}
	switch a.status {
	case http.StatusNoContent, http.StatusNotFound:
		return pass("%v: nothing to announce", a)
	case http.StatusOK:
	default:
		return fail("csrattrs answered %v", a)
	}
	if a.media() != "application/csrattrs" {
		return fail("Content-Type %q", a.get("Content-Type"))
	}
	list, err := parseAttributes(a.body)
	if err != nil {
		return fail("%v", err)
	}
	return pass("%s", counted(len(list.list), "attribute"))
}

// announced is the content of csrattrs; errNotAsked if there is none.
func (p *probe) announced(ctx context.Context) (attributes, error) {
	a, err := p.askCSRAttrs(ctx)
	if err != nil {
		return attributes{}, err
	}
	if a.status != http.StatusOK {
		return attributes{}, errNotAsked(fmt.Sprintf("csrattrs announces nothing: it answers %d", a.status))
	}
	return parseAttributes(a.body)
}

func noEmptyAttributes(ctx context.Context, p *probe) Result {
	a, err := p.askCSRAttrs(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK {
		return pass("%v", a)
	}
	list, err := parseAttributes(a.body)
	if err != nil {
		return fail("%v", err)
	}
	if len(list.list) == 0 {
		return fail("200 with an empty SEQUENCE")
	}
	return pass("%s", counted(len(list.list), "attribute"))
}

// usualKeys are the types that are tried.
var usualKeys = []string{"P-256", "P-384", "RSA-2048"}

// takes reports which types of keys enrollment takes: each with a name of its own,
// or the first device's where there is no other.
func (p *probe) takes(ctx context.Context, kinds []string) (taken, refused []string, err error) {
	e, err := p.opening(ctx)
	if err != nil {
		return nil, nil, err
	}
	if e.submission.cred.device != "" || !p.manyNames() {
		return nil, nil, errNotAsked("needs credentials that enroll several devices, of which each tries one type of key")
	}
	for _, kind := range kinds {
		key, err := makeKey(kind)
		if err != nil {
			continue
		}
		s := e.submission
		s.csr.key, s.csr.subject = key, commonName(p.name())
		a, err := p.submit(ctx, s)
		switch {
		case err != nil:
			return nil, nil, err
		case accepted(a.status):
			taken = append(taken, kind)
		case a.status >= 400 && a.status < 500:
			refused = append(refused, kind)
		default:
			return nil, nil, fmt.Errorf("a key of type %s: %v", kind, a)
		}
	}
	return taken, refused, nil
}

func keysAnnounced(ctx context.Context, p *probe) Result {
	taken, refused, err := p.takes(ctx, usualKeys)
	if err != nil {
		return unasked(err)
	}
	if len(refused) == 0 {
		return pass("no type is demanded: %s are taken", strings.Join(taken, ", "))
	}
	list, err := p.announced(ctx)
	if err != nil {
		return fail("%s refused, and %v", strings.Join(refused, ", "), err)
	}
	if len(list.keys()) == 0 {
		return fail("%s refused, and csrattrs names no type", strings.Join(refused, ", "))
	}
	return pass("%s refused, %s announced", strings.Join(refused, ", "), strings.Join(list.keys(), ", "))
}

func announcedEnforced(ctx context.Context, p *probe) Result {
	list, err := p.announced(ctx)
	if err != nil {
		return unasked(err)
	}
	keys := list.keys()
	if len(keys) == 0 {
		return na("csrattrs announces no key")
	}
	kinds := slices.Clone(usualKeys)
	for _, kind := range keys {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	taken, refused, err := p.takes(ctx, kinds)
	if err != nil {
		return unasked(err)
	}
	for _, kind := range keys {
		if slices.Contains(refused, kind) {
			return fail("%s is announced and refused", kind)
		}
	}
	for _, kind := range taken {
		if !slices.Contains(keys, kind) {
			return fail("%s is taken and not announced", kind)
		}
	}
	return pass("announced and taken: %s", strings.Join(keys, ", "))
}

func attributeExtensions(ctx context.Context, p *probe) Result {
	list, err := p.announced(ctx)
	if err != nil {
		return unasked(err)
	}
	found := list.all(oidExtensionRequest)
	switch {
	case len(found) == 0:
		return pass("no extensionRequest")
	case len(found) > 1:
		return fail("%d attributes extensionRequest", len(found))
	case found[0].alone:
		return fail("extensionRequest without a value")
	case len(found[0].values) != 1:
		return fail("extensionRequest with %d values", len(found[0].values))
	}
	if err := checkExtensions(found[0].values[0]); err != nil {
		return fail("extensionRequest: %v", err)
	}
	return pass("one extensionRequest")
}

func attributeKeys(ctx context.Context, p *probe) Result {
	list, err := p.announced(ctx)
	if err != nil {
		return unasked(err)
	}
	for _, oid := range []string{oidECPublicKey, oidRSA} {
		found := list.all(oid)
		if len(found) > 1 {
			return fail("%d attributes with key type %s", len(found), oid)
		}
		for _, a := range found {
			for _, v := range a.values {
				if oid == oidECPublicKey && v.oid() == "" || oid == oidRSA && (v.tag != tagInteger || len(v.content) > 3) {
					return fail("key type %s with a value of tag %#02x", oid, v.tag)
				}
			}
		}
	}
	for _, a := range list.list {
		if curves[a.oid] != "" {
			return fail("curve %s stands outside of the attribute with the key type", a.oid)
		}
	}
	if keys := list.keys(); len(keys) > 0 {
		return pass("announced: %s", strings.Join(keys, ", "))
	}
	return pass("no key announced")
}

func attributeTemplate(ctx context.Context, p *probe) Result {
	list, err := p.announced(ctx)
	if err != nil {
		return unasked(err)
	}
	found := list.all(oidTemplate)
	if len(found) == 0 {
		return na("csrattrs holds no template")
	}
	if len(found) > 1 || len(found[0].values) != 1 {
		return fail("more than one template, or one without exactly one value")
	}
	if err := checkTemplate(found[0].values[0]); err != nil {
		return fail("%v", err)
	}
	return pass("one template")
}
