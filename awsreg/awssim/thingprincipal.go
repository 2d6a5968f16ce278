package awssim

// How a principal is attached to a thing (API reference, AttachThingPrincipal).
const (
	exclusiveThing    = "EXCLUSIVE_THING"
	nonExclusiveThing = "NON_EXCLUSIVE_THING"
)

// thingPrincipalType reads the query parameter of that name, "" if it is not there.
func (c *call) thingPrincipalType() (string, error) {
	switch v := c.query.Get("thingPrincipalType"); v {
	case "", exclusiveThing, nonExclusiveThing:
		return v, nil
	default:
		return "", invalid("thingPrincipalType must be %s or %s, not %q", exclusiveThing, nonExclusiveThing, clip(v, 64))
	}
}

// attachmentOf says how a certificate is attached to a thing.
func (th *thing) attachmentOf(certID string) string {
	if th.principals[certID] {
		return exclusiveThing
	}
	return nonExclusiveThing
}

func listThingPrincipalsV2(c *call) (any, error) {
	th, err := c.w.findThing(c.path["thingName"])
	if err != nil {
		return nil, err
	}
	want, err := c.thingPrincipalType()
	if err != nil {
		return nil, err
	}
	page, token, err := paginate(c, c.w.principalsOf(th, want), func(x *certificate) int64 { return x.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]string{}
	for _, cert := range page {
		out = append(out, map[string]string{"principal": c.w.certARN(cert.id), "thingPrincipalType": th.attachmentOf(cert.id)})
	}
	return withMarker(map[string]any{"thingPrincipalObjects": out}, "nextToken", token), nil
}

// principalsOf lists the certificates of a thing by age, those attached as wanted
// or, with "", all. The caller holds w.mu.
func (w *world) principalsOf(th *thing, want string) []*certificate {
	mine := map[string]*certificate{}
	for id := range th.principals {
		if cert, ok := w.certs[id]; ok && (want == "" || th.attachmentOf(id) == want) {
			mine[id] = cert
		}
	}
	return sorted(mine, func(x *certificate) int64 { return x.seq })
}

func listPrincipalThingsV2(c *call) (any, error) {
	cert, err := c.w.certByARN(c.r.Header.Get("x-amzn-principal"))
	if err != nil {
		return nil, err
	}
	want, err := c.thingPrincipalType()
	if err != nil {
		return nil, err
	}
	var list []*thing
	for _, th := range c.w.thingsOf(cert.id) {
		if want == "" || th.attachmentOf(cert.id) == want {
			list = append(list, th)
		}
	}
	page, token, err := paginate(c, list, func(t *thing) int64 { return t.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]string{}
	for _, th := range page {
		out = append(out, map[string]string{"thingName": th.name, "thingPrincipalType": th.attachmentOf(cert.id)})
	}
	return withMarker(map[string]any{"principalThingObjects": out}, "nextToken", token), nil
}
