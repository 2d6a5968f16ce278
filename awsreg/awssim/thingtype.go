package awssim

import (
	"time"

	"mintmark/internal/pattern"
)

// Limits of thing types (API reference, ThingTypeProperties and CreateThing).
const (
	maxSearchable      = 3
	maxTypedAttributes = 50
	maxDescription     = 2028
)

// typeDeletionDelay is how long a thing type must have been deprecated before it
// can be deleted (API reference, DeleteThingType).
const typeDeletionDelay = 5 * time.Minute

// descriptionText is what descriptions of types and groups are made of (API
// reference, ThingTypeDescription).
var descriptionText = pattern.New(`^[\p{L}\p{M}\p{N}\p{P}\p{S}\x20]*$`)

type thingType struct {
	seq        int64
	id         string
	name       string
	properties thingTypeProperties
	created    time.Time
	deprecated time.Time // zero unless deprecated
}

type thingTypeProperties struct {
	Description string   `json:"thingTypeDescription,omitempty"`
	Searchable  []string `json:"searchableAttributes,omitempty"`
}

func (w *world) thingTypeARN(name string) string { return w.arn("iot", "thingtype/"+name) }

func (w *world) findThingType(name string) (*thingType, error) {
	if t, ok := w.group.types[name]; ok {
		return t, nil
	}
	return nil, notFound("Thing type %s not found", clip(name, 128))
}

func (p thingTypeProperties) check() error {
	if len(p.Searchable) > maxSearchable {
		return invalid("a thing type has at most %d searchable attributes, not %d", maxSearchable, len(p.Searchable))
	}
	for _, a := range p.Searchable {
		if !attributeName.MatchString(a) {
			return invalid("searchable attribute %q is not the name of an attribute", clip(a, 128))
		}
	}
	return checkDescription(p.Description)
}

func checkDescription(s string) error {
	if len(s) > maxDescription || !descriptionText.MatchString(s) {
		return invalid("a description has at most %d printable characters", maxDescription)
	}
	return nil
}

// createThingType succeeds again for the same configuration. Whether AWS does so is
// said of things only; another configuration is refused here as there.
func createThingType(c *call) (any, error) {
	var in struct {
		Properties thingTypeProperties `json:"thingTypeProperties"`
		Tags       []tag               `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	name := c.path["thingTypeName"]
	if !thingName.MatchString(name) {
		return nil, invalid("thingTypeName %q: want 1 to 128 letters, digits or :_-", clip(name, 160))
	}
	if err := in.Properties.check(); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if c.w.thingTypeExists(name) {
		return nil, alreadyExists(name, c.w.thingTypeARN(name), "Thing type %s already exists", name)
	}
	if err := room(c.w.group.types, "thing types"); err != nil {
		return nil, err
	}
	t := &thingType{seq: c.w.next(), id: randomID(), name: name, properties: in.Properties, created: c.w.now()}
	c.w.group.types[name] = t
	c.w.setTags(c.w.thingTypeARN(name), in.Tags)
	return map[string]string{"thingTypeName": name, "thingTypeArn": c.w.thingTypeARN(name), "thingTypeId": t.id}, nil
}

func (w *world) thingTypeMembers(t *thingType) map[string]any {
	metadata := map[string]any{"deprecated": !t.deprecated.IsZero(), "creationDate": epoch(t.created)}
	if !t.deprecated.IsZero() {
		metadata["deprecationDate"] = epoch(t.deprecated)
	}
	return map[string]any{
		"thingTypeName": t.name, "thingTypeArn": w.thingTypeARN(t.name),
		"thingTypeProperties": t.properties, "thingTypeMetadata": metadata,
	}
}

func describeThingType(c *call) (any, error) {
	t, err := c.w.findThingType(c.path["thingTypeName"])
	if err != nil {
		return nil, err
	}
	m := c.w.thingTypeMembers(t)
	m["thingTypeId"] = t.id
	return m, nil
}

func listThingTypes(c *call) (any, error) {
	want := c.query.Get("thingTypeName")
	var list []*thingType
	for _, t := range sorted(c.w.group.types, func(t *thingType) int64 { return t.seq }) {
		if want == "" || t.name == want {
			list = append(list, t)
		}
	}
	page, token, err := paginate(c, list, func(t *thingType) int64 { return t.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, t := range page {
		out = append(out, c.w.thingTypeMembers(t))
	}
	return withMarker(map[string]any{"thingTypes": out}, "nextToken", token), nil
}

// deprecateThingType closes a type to new things, or with undoDeprecate opens it
// again.
func deprecateThingType(c *call) (any, error) {
	var in struct {
		Undo bool `json:"undoDeprecate"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	t, err := c.w.findThingType(c.path["thingTypeName"])
	if err != nil {
		return nil, err
	}
	switch {
	case in.Undo:
		t.deprecated = time.Time{}
	case t.deprecated.IsZero():
		t.deprecated = c.w.now()
	}
	return nil, nil
}

// deleteThingType wants a type that has been deprecated for five minutes and that
// no thing has (API reference, DeleteThingType).
func deleteThingType(c *call) (any, error) {
	t, err := c.w.findThingType(c.path["thingTypeName"])
	if err != nil {
		return nil, err
	}
	if t.deprecated.IsZero() {
		return nil, invalid("Cannot delete thing type %s: it must be deprecated first", t.name)
	}
	if c.w.now().Before(t.deprecated.Add(typeDeletionDelay)) {
		return nil, invalid("Cannot delete thing type %s: wait %s after deprecating it", t.name, typeDeletionDelay)
	}
	for _, th := range c.w.things {
		if th.typeName == t.name {
			return nil, invalid("Cannot delete thing type %s: the thing %s is associated with it", t.name, th.name)
		}
	}
	delete(c.w.group.types, t.name)
	delete(c.w.tags, c.w.thingTypeARN(t.name))
	return nil, nil
}
