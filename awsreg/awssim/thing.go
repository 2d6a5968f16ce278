package awssim

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"mintmark/internal/pattern"
)

// maxAttributes is how many attributes a thing without a thing type may have (API
// reference, AttributePayload).
const maxAttributes = 3

var (
	thingName      = pattern.New(`^[a-zA-Z0-9:_-]{1,128}$`)
	attributeName  = pattern.New(`^[a-zA-Z0-9_.,@/:#-]{1,128}$`)
	attributeValue = pattern.New(`^[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}$`)
)

type thing struct {
	seq        int64
	id         string
	name       string
	typeName   string // empty without a thing type
	attributes map[string]string
	version    int64
	principals map[string]bool // certificate id -> attached exclusively
}

type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge"`
}

func (w *world) thingARN(name string) string { return w.arn("iot", "thing/"+name) }

func (w *world) findThing(name string) (*thing, error) {
	if th, ok := w.things[name]; ok {
		return th, nil
	}
	return nil, notFound("Thing %s not found", clip(name, 128))
}

// thingsOf lists the things that a certificate is attached to, oldest first.
func (w *world) thingsOf(certID string) []*thing {
	out := slices.Collect(maps.Keys(w.attached[certID]))
	sort.Slice(out, func(i, j int) bool { return out[i].seq < out[j].seq })
	return out
}

func createThing(c *call) (any, error) {
	var in struct {
		AttributePayload *attributePayload `json:"attributePayload"`
		ThingTypeName    string            `json:"thingTypeName"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	attrs := map[string]string{}
	if in.AttributePayload != nil {
		attrs = in.AttributePayload.Attributes
	}
	th, err := c.w.addTypedThing(c.path["thingName"], in.ThingTypeName, attrs)
	if err != nil {
		return nil, err
	}
	return map[string]string{"thingName": th.name, "thingArn": c.w.thingARN(th.name), "thingId": th.id}, nil
}

// addThing creates a thing without a thing type. The caller holds w.mu.
func (w *world) addThing(name string, attrs map[string]string) (*thing, error) {
	return w.addTypedThing(name, "", attrs)
}

// addTypedThing creates a thing. The same name with the same configuration succeeds
// again, with another one it does not (API reference, CreateThing). The caller
// holds w.mu.
func (w *world) addTypedThing(name, typeName string, attrs map[string]string) (*thing, error) {
	if !thingName.MatchString(name) {
		return nil, invalid("thingName %q: want 1 to 128 letters, digits or :_-", clip(name, 160))
	}
	if err := checkThingAttributes(typeName, attrs); err != nil {
		return nil, err
	}
	if old, ok := w.things[name]; ok {
		if maps.Equal(old.attributes, attrs) && old.typeName == typeName {
			return old, nil
		}
		return nil, alreadyExists(name, w.thingARN(name), "Thing %s already exists in account with different attributes", name)
	}
	if err := w.checkThingType(typeName); err != nil {
		return nil, err
	}
	if err := room(w.things, "things"); err != nil {
		return nil, err
	}
	th := &thing{
		seq: w.next(), id: randomID(), name: name, typeName: typeName, attributes: maps.Clone(attrs), version: 1,
		principals: map[string]bool{},
	}
	if th.attributes == nil {
		th.attributes = map[string]string{}
	}
	w.things[name] = th
	return th, nil
}

// checkThingType refuses a type that new things cannot have. The caller holds w.mu.
func (w *world) checkThingType(name string) error {
	if name == "" {
		return nil
	}
	t, err := w.findThingType(name)
	if err == nil && !t.deprecated.IsZero() {
		// API reference, DeprecateThingType: no new things can be associated with it.
		return invalid("The thing type %s is deprecated", name)
	}
	return err
}

// setThing gives a thing a type ("" for none) and attributes, and counts its
// version up. The caller holds w.mu.
func (w *world) setThing(th *thing, typeName string, attrs map[string]string) error {
	if err := checkThingAttributes(typeName, attrs); err != nil {
		return err
	}
	if typeName != th.typeName {
		if err := w.checkThingType(typeName); err != nil {
			return err
		}
	}
	th.typeName, th.attributes = typeName, attrs
	th.version++
	return nil
}

// checkThingAttributes bounds the attributes of a thing of a type, "" for none.
func checkThingAttributes(typeName string, attrs map[string]string) error {
	if n := len(attrs); typeName == "" && n > maxAttributes {
		return invalid("a thing without a thing type has at most %d attributes, not %d", maxAttributes, n)
	} else if n > maxTypedAttributes {
		return invalid("a thing has at most %d attributes, not %d", maxTypedAttributes, n)
	}
	return checkAttributeText(attrs)
}

func checkAttributeText(attrs map[string]string) error {
	for k, v := range attrs {
		if !attributeName.MatchString(k) || !attributeValue.MatchString(v) {
			return invalid("attribute %q has a character that is not allowed, or is too long", clip(k, 128))
		}
	}
	return nil
}

func (w *world) thingMembers(th *thing) map[string]any {
	m := map[string]any{
		"thingName": th.name, "thingArn": w.thingARN(th.name), "attributes": th.attributes, "version": th.version,
	}
	if th.typeName != "" {
		m["thingTypeName"] = th.typeName
	}
	return m
}

func describeThing(c *call) (any, error) {
	th, err := c.w.findThing(c.path["thingName"])
	if err != nil {
		return nil, err
	}
	out := c.w.thingMembers(th)
	out["thingId"], out["defaultClientId"] = th.id, th.name
	return out, nil
}

func updateThing(c *call) (any, error) {
	var in struct {
		AttributePayload *attributePayload `json:"attributePayload"`
		ExpectedVersion  int64             `json:"expectedVersion"`
		ThingTypeName    string            `json:"thingTypeName"`
		RemoveThingType  bool              `json:"removeThingType"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	th, err := c.w.findThing(c.path["thingName"])
	if err != nil {
		return nil, err
	}
	if in.ExpectedVersion != 0 && in.ExpectedVersion != th.version {
		return nil, iotError("VersionConflictException", "the version of %s is %d, not %d", th.name, th.version, in.ExpectedVersion)
	}
	typeName := th.typeName
	switch {
	case in.RemoveThingType && in.ThingTypeName != "":
		return nil, invalid("thingTypeName and removeThingType exclude each other")
	case in.RemoveThingType:
		typeName = ""
	case in.ThingTypeName != "":
		typeName = in.ThingTypeName
	}
	attrs := th.attributes
	if in.AttributePayload != nil {
		attrs = in.AttributePayload.apply(th.attributes)
	}
	return nil, c.w.setThing(th, typeName, attrs)
}

// deleteThing succeeds for a thing that does not exist (API reference,
// DeleteThing), and refuses one with principals.
func deleteThing(c *call) (any, error) {
	th, ok := c.w.things[c.path["thingName"]]
	if !ok {
		return nil, nil
	}
	if v := c.query.Get("expectedVersion"); v != "" && v != strconv.FormatInt(th.version, 10) {
		return nil, iotError("VersionConflictException", "the version of %s is %d, not %s", th.name, th.version, v)
	}
	if len(th.principals) > 0 {
		return nil, invalid("Cannot delete. Thing %s is still attached to one or more principals", th.name)
	}
	delete(c.w.things, th.name)
	c.w.dropMember(th.name)
	return nil, nil
}

func listThings(c *call) (any, error) {
	prefix, err := c.flag("usePrefixAttributeValue")
	if err != nil {
		return nil, err
	}
	name, value, typeName := c.query.Get("attributeName"), c.query.Get("attributeValue"), c.query.Get("thingTypeName")
	keep := func(th *thing) bool {
		have, ok := th.attributes[name]
		hit := name == "" || ok && (have == value || prefix && strings.HasPrefix(have, value))
		return hit && (typeName == "" || th.typeName == typeName)
	}
	page, token, err := paginateIf(c, c.w.thingsInOrder(), keep, func(t *thing) int64 { return t.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, th := range page {
		out = append(out, c.w.thingMembers(th))
	}
	return withMarker(map[string]any{"things": out}, "nextToken", token), nil
}

func (c *call) thingAndPrincipal() (*thing, *certificate, error) {
	th, err := c.w.findThing(c.path["thingName"])
	if err != nil {
		return nil, nil, err
	}
	cert, err := c.w.certByARN(c.r.Header.Get("x-amzn-principal"))
	return th, cert, err
}

// attachThingPrincipal is idempotent. An exclusive attachment allows no other one
// of the same principal (API reference, AttachThingPrincipal).
func attachThingPrincipal(c *call) (any, error) {
	th, cert, err := c.thingAndPrincipal()
	if err != nil {
		return nil, err
	}
	kind, err := c.thingPrincipalType()
	if err != nil {
		return nil, err
	}
	return nil, c.w.attachThing(th, cert, kind == exclusiveThing)
}

func (w *world) attachThing(th *thing, cert *certificate, exclusive bool) error {
	for _, other := range w.thingsOf(cert.id) {
		if other != th && (exclusive || other.principals[cert.id]) {
			return invalid("The principal is attached to the thing %s, and one of the two attachments is exclusive", other.name)
		}
	}
	th.principals[cert.id] = exclusive
	if w.attached[cert.id] == nil {
		w.attached[cert.id] = map[*thing]struct{}{}
	}
	w.attached[cert.id][th] = struct{}{}
	return nil
}

func detachThingPrincipal(c *call) (any, error) {
	th, cert, err := c.thingAndPrincipal()
	if err != nil {
		return nil, err
	}
	delete(th.principals, cert.id)
	if delete(c.w.attached[cert.id], th); len(c.w.attached[cert.id]) == 0 {
		delete(c.w.attached, cert.id)
	}
	return nil, nil
}

func listThingPrincipals(c *call) (any, error) {
	th, err := c.w.findThing(c.path["thingName"])
	if err != nil {
		return nil, err
	}
	page, token, err := paginate(c, c.w.principalsOf(th, ""), func(x *certificate) int64 { return x.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, cert := range page {
		out = append(out, c.w.certARN(cert.id))
	}
	return withMarker(map[string]any{"principals": out}, "nextToken", token), nil
}

func listPrincipalThings(c *call) (any, error) {
	cert, err := c.w.certByARN(c.r.Header.Get("x-amzn-principal"))
	if err != nil {
		return nil, err
	}
	page, token, err := paginate(c, c.w.thingsOf(cert.id), func(t *thing) int64 { return t.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, th := range page {
		out = append(out, th.name)
	}
	return withMarker(map[string]any{"things": out}, "nextToken", token), nil
}
