package doctor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// unauthorized is the answer to a request without credentials, if it is a 401.
func (p *probe) unauthorized(ctx context.Context) (*answer, error) {
	a, err := p.do(ctx, p.post("simpleenroll", nil, nil))
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusUnauthorized {
		return nil, errNotAsked(fmt.Sprintf("the server asks for no password: without credentials it answers %d", a.status))
	}
	return a, nil
}

func challenge(ctx context.Context, p *probe) Result {
	a, err := p.unauthorized(ctx)
	if err != nil {
		return unasked(err)
	}
	if a.get("WWW-Authenticate") == "" {
		return fail("401 without WWW-Authenticate")
	}
	return pass("%s", excerpt([]byte(a.get("WWW-Authenticate"))))
}

func challengeSpelling(ctx context.Context, p *probe) Result {
	a, err := p.unauthorized(ctx)
	if err != nil {
		return unasked(err)
	}
	for _, f := range a.header {
		if strings.EqualFold(f.name, "WWW-Authenticate") && f.name != "WWW-Authenticate" {
			return fail("the field is spelled %q", f.name)
		}
	}
	if !a.has("WWW-Authenticate") {
		return fail("401 without WWW-Authenticate")
	}
	return pass("WWW-Authenticate")
}

func basicFirst(ctx context.Context, p *probe) Result {
	a, err := p.unauthorized(ctx)
	if err != nil {
		return unasked(err)
	}
	scheme, _, _ := strings.Cut(a.get("WWW-Authenticate"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return fail("the first challenge is %q", excerpt([]byte(scheme)))
	}
	return pass("Basic")
}

func emptyBodies(ctx context.Context, p *probe) Result {
	check := func(a *answer) error {
		if len(a.body) > 0 || a.get("Content-Length") != "0" {
			return fmt.Errorf("the %d has Content-Length %q and %d bytes", a.status, a.get("Content-Length"), len(a.body))
		}
		return nil
	}
	var seen []string
	a, reason := p.unauthorized(ctx)
	if reason == nil {
		if err := check(a); err != nil {
			return fail("%v", err)
		}
		seen = append(seen, "401")
	}
	if e, err := p.opening(ctx); err == nil && e.answer.status == http.StatusAccepted {
		if err := check(e.answer); err != nil {
			return fail("%v", err)
		}
		seen = append(seen, "202")
	}
	if len(seen) == 0 {
		return unasked(reason)
	}
	return pass("%s", strings.Join(seen, " and "))
}

func samePasswordAnswer(ctx context.Context, p *probe) Result {
	if _, err := p.unauthorized(ctx); err != nil {
		return unasked(err)
	}
	if !p.HasPassword {
		return na("needs a user that the server knows")
	}
	ask := func(user string) (*answer, error) {
		return p.do(ctx, p.post("simpleenroll", &credential{basic: true, user: user, password: "wrong-" + p.run}, nil))
	}
	known, err := ask(p.User)
	if err != nil {
		return fail("%v", err)
	}
	stranger, err := ask("nobody-" + p.run)
	if err != nil {
		return fail("%v", err)
	}
	if known.status != http.StatusUnauthorized || stranger.status != http.StatusUnauthorized {
		return fail("wrong password: %v; unknown user: %v", known, stranger)
	}
	shape := func(a *answer) string {
		var b strings.Builder
		for _, f := range a.header {
			if !strings.EqualFold(f.name, "Date") {
				fmt.Fprintf(&b, "%s: %s\n", f.name, f.value)
			}
		}
		return b.String() + "\n" + string(a.body)
	}
	if shape(known) != shape(stranger) {
		return fail("the answers differ: %q and %q", excerpt([]byte(shape(known))), excerpt([]byte(shape(stranger))))
	}
	return pass("the same 401")
}
