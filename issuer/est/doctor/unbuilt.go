package doctor

import (
	"context"
	"net/http"
)

var unbuiltPoints = []Point{
	{76, Must, "RFC 7030, 4.3.1", "fullcmc rejects what is no Full PKI Request", "posts garbage as CMC-request, with credentials", rejectsCMC},
	{77, Must, "RFC 7030, 4.3.2", "an error of fullcmc has a status of 4xx or 5xx and a CMC response", "looks at the answer to garbage", errorCMC},
	{78, Must, "RFC 9148, 5", "EST over CoAP: DTLS 1.2 or newer, client certificates always", "is not checked: the doctor speaks no CoAP", policy(noCoAP)},
	{79, Must, "RFC 9148, 5.1, 5.3", "EST over CoAP: short paths, binary DER and its content formats", "is not checked: the doctor speaks no CoAP", policy(noCoAP)},
	{80, Must, "RFC 9148, 5.6", "EST over CoAP: block-wise transfer both ways", "is not checked: the doctor speaks no CoAP", policy(noCoAP)},
	{81, Should, "RFC 9148, 5.7", "EST over CoAP: 5.03 and Max-Age in place of 202", "is not checked: the doctor speaks no CoAP", policy(noCoAP)},
	{82, Should, "RFC 9148, 5.1", "EST over CoAP: resource discovery", "is not checked: the doctor speaks no CoAP", policy(noCoAP)},
}

const noCoAP = "EST over CoAP is another transport, which the doctor does not speak"

// fullCMC posts garbage; errNotAsked if the server does not offer the operation.
func (p *probe) fullCMC(ctx context.Context) (*answer, error) {
	a, err := p.do(ctx, p.post("fullcmc", p.enroller(), encode([]byte("no PKIData")), "Content-Type: application/pkcs7-mime; smime-type=CMC-request"))
	if err != nil {
		return nil, err
	}
	switch a.status {
	case http.StatusNotFound, http.StatusNotImplemented:
		return nil, errNotAsked("the server offers no fullcmc")
	case http.StatusUnauthorized:
		return nil, errNotAsked("the server offers fullcmc, and not to these credentials")
	}
	return a, nil
}

func rejectsCMC(ctx context.Context, p *probe) Result {
	a, err := p.fullCMC(ctx)
	if err != nil {
		return unasked(err)
	}
	if a.status < 400 {
		return fail("fullcmc answered %v", a)
	}
	return pass("%v", a)
}

func errorCMC(ctx context.Context, p *probe) Result {
	a, err := p.fullCMC(ctx)
	if err != nil {
		return unasked(err)
	}
	if a.status < 400 || a.media() != "application/pkcs7-mime" || len(a.body) == 0 {
		return fail("fullcmc answered %d with Content-Type %q", a.status, a.get("Content-Type"))
	}
	return pass("%d with Content-Type %q", a.status, a.get("Content-Type"))
}
