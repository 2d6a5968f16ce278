package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var routingPoints = []Point{
	{11, Must, "RFC 7030, 3.2.2", "cacerts, simpleenroll and simplereenroll exist without a label", "each must answer its method with something else than 404, 405 and 501", unlabelled},
	{12, Must, "RFC 7030, 3.2.2", "the same paths with a label", "each must answer its method with something else than 404, 405 and 501", labelled},
	{13, Derived, "RFC 9110, 15.5", "an unknown operation or label gets 404, a wrong method 405 with Allow", "asks for paths that cannot exist, and with the wrong method", unknown},
	{14, Must, "RFC 7030, 4.3.2, 4.4.2", "fullcmc and serverkeygen, where they are not offered, answer 404 or 501", "posts nothing to each: 404, 501, or the refusal of a server that offers it", optional},
	{97, Interop, "measured: strongSwan", "the label may stand in front of /.well-known, and requests that wait are found without it", "asks for each operation at /LABEL/.well-known/est, and repeats an approved request without the label", alias},
}

// exist asks for the operations at paths and names the first that is not there.
func (p *probe) exist(ctx context.Context, path func(op string) string) Result {
	for op, method := range map[string]string{"cacerts": http.MethodGet, "simpleenroll": http.MethodPost, "simplereenroll": http.MethodPost} {
		a, err := p.do(ctx, request{method: method, path: path(op), header: []string{typePKCS10}})
		if err != nil {
			return fail("%s %s: %v", method, path(op), err)
		}
		absent := []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}
		if slices.Contains(absent, a.status) || a.status >= 300 && a.status < 400 || op == "cacerts" && a.status != http.StatusOK {
			return fail("%s %s: %v", method, path(op), a)
		}
	}
	return pass("all three are there")
}

func unlabelled(ctx context.Context, p *probe) Result {
	return p.exist(ctx, func(op string) string { return p.under("", op) })
}

func labelled(ctx context.Context, p *probe) Result {
	if p.Label == "" {
		return na("needs a label (--label)")
	}
	return p.exist(ctx, p.path)
}

func unknown(ctx context.Context, p *probe) Result {
	stranger := "no-label-" + p.run
	for _, path := range []string{p.path("no-operation-" + p.run), p.under(stranger, "cacerts")} {
		a, err := p.do(ctx, request{method: http.MethodGet, path: path})
		if err != nil {
			return fail("GET %s: %v", path, err)
		}
		if a.status != http.StatusNotFound {
			return fail("GET %s: %v", path, a)
		}
	}
	for op, method := range map[string]string{"cacerts": http.MethodPost, "simpleenroll": http.MethodGet} {
		a, err := p.do(ctx, request{method: method, path: p.path(op)})
		if err != nil {
			return fail("%s %s: %v", method, p.path(op), err)
		}
		if a.status != http.StatusMethodNotAllowed {
			return fail("%s %s: %v", method, p.path(op), a)
		}
		right := map[string]string{"cacerts": http.MethodGet, "simpleenroll": http.MethodPost}[op]
		if !slices.Contains(strings.FieldsFunc(a.get("Allow"), func(r rune) bool { return r == ',' || r == ' ' }), right) {
			return fail("%s %s: 405 whose Allow is %q", method, p.path(op), a.get("Allow"))
		}
	}
	return pass("404 and 405")
}

// offered says of a status whether the operation is there; ok is false if it is
// no status for a request without content and credentials.
func offered(status int) (there, ok bool) {
	switch status {
	case http.StatusNotFound, http.StatusNotImplemented:
		return false, true
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnsupportedMediaType,
		http.StatusLengthRequired, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true, true
	}
	return false, false
}

func optional(ctx context.Context, p *probe) Result {
	var seen []string
	for _, op := range []string{"fullcmc", "serverkeygen"} {
		a, err := p.do(ctx, p.post(op, nil, nil))
		if err != nil {
			return fail("%s: %v", op, err)
		}
		there, ok := offered(a.status)
		switch {
		case !ok:
			return fail("%s without content and credentials: %v", op, a)
		case there:
			seen = append(seen, op+" is offered")
		default:
			seen = append(seen, op+": "+a.String())
		}
	}
	return pass("%s", strings.Join(seen, ", "))
}

func alias(ctx context.Context, p *probe) Result {
	if p.Label == "" {
		return na("needs a label (--label)")
	}
	r := p.exist(ctx, func(op string) string { return p.base + "/" + url.PathEscape(p.Label) + "/.well-known/est/" + op })
	if r.Status != Pass {
		return r
	}
	// strongSwan has lost the label when it comes back after a 202.
	d, err := p.decision(ctx)
	if err != nil {
		return r
	}
	if d.dropped.status != http.StatusOK {
		return fail("a request that was approved, repeated without the label: %v", d.dropped)
	}
	return pass("all three are there, and an approved request is found without the label")
}
