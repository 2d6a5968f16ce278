package awssim

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of static thing groups (AWS General Reference, AWS IoT Core thing
// registry limits; AWS IoT developer guide, thing-groups).
const (
	maxGroupDepth      = 7
	maxChildGroups     = 100
	maxGroupsOfThing   = 10
	maxGroupAttributes = 50
)

type thingGroup struct {
	seq        int64
	id         string
	name       string
	parent     string // empty at the root
	properties thingGroupProperties
	version    int64
	created    time.Time
	members    map[string]bool // names of things
}

type thingGroupProperties struct {
	Description string            `json:"thingGroupDescription,omitempty"`
	Attributes  *attributePayload `json:"attributePayload,omitempty"`
}

func (w *world) thingGroupARN(name string) string { return w.arn("iot", "thinggroup/"+name) }

func (w *world) findThingGroup(name string) (*thingGroup, error) {
	if g, ok := w.group.groups[name]; ok {
		return g, nil
	}
	return nil, notFound("Thing group %s not found", clip(name, 128))
}

func (p thingGroupProperties) check() error {
	if p.Attributes != nil {
		if len(p.Attributes.Attributes) > maxGroupAttributes {
			return invalid("a thing group has at most %d attributes", maxGroupAttributes)
		}
		if err := checkAttributeText(p.Attributes.Attributes); err != nil {
			return err
		}
	}
	return checkDescription(p.Description)
}

func createThingGroup(c *call) (any, error) {
	var in struct {
		Parent     string               `json:"parentGroupName"`
		Properties thingGroupProperties `json:"thingGroupProperties"`
		Tags       []tag                `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	name := c.path["thingGroupName"]
	if !thingName.MatchString(name) {
		return nil, invalid("thingGroupName %q: want 1 to 128 letters, digits or :_-", clip(name, 160))
	}
	if err := in.Properties.check(); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if in.Parent != "" {
		if _, err := c.w.findThingGroup(in.Parent); err != nil {
			return nil, err
		}
		if len(c.w.groupPath(in.Parent)) >= maxGroupDepth {
			return nil, invalid("a hierarchy of thing groups has at most %d levels", maxGroupDepth)
		}
		if c.w.childGroups(in.Parent) >= maxChildGroups {
			return nil, invalid("a thing group has at most %d direct child groups", maxChildGroups)
		}
	}
	if c.w.thingGroupExists(name) {
		return nil, alreadyExists(name, c.w.thingGroupARN(name), "Thing group %s already exists", name)
	}
	if err := room(c.w.group.groups, "thing groups"); err != nil {
		return nil, err
	}
	g := &thingGroup{
		seq: c.w.next(), id: randomID(), name: name, parent: in.Parent, properties: in.Properties,
		version: 1, created: c.w.now(), members: map[string]bool{},
	}
	c.w.group.groups[name] = g
	c.w.setTags(c.w.thingGroupARN(name), in.Tags)
	return map[string]string{"thingGroupName": name, "thingGroupArn": c.w.thingGroupARN(name), "thingGroupId": g.id}, nil
}

// groupPath lists a group and its ancestors, the root last.
func (w *world) groupPath(name string) []string {
	var path []string
	for g := w.group.groups[name]; g != nil; g = w.group.groups[g.parent] {
		path = append(path, g.name)
	}
	return path
}

func (w *world) childGroups(name string) int {
	n := 0
	for _, g := range w.group.groups {
		if g.parent == name {
			n++
		}
	}
	return n
}

type groupNameAndARN struct {
	Name string `json:"groupName"`
	ARN  string `json:"groupArn"`
}

func describeThingGroup(c *call) (any, error) {
	g, err := c.w.findThingGroup(c.path["thingGroupName"])
	if err != nil {
		return nil, err
	}
	metadata := map[string]any{"creationDate": epoch(g.created)}
	if g.parent != "" {
		path := c.w.groupPath(g.parent)
		slices.Reverse(path)
		ancestors := []groupNameAndARN{}
		for _, name := range path {
			ancestors = append(ancestors, groupNameAndARN{name, c.w.thingGroupARN(name)})
		}
		metadata["parentGroupName"], metadata["rootToParentThingGroups"] = g.parent, ancestors
	}
	return map[string]any{
		"thingGroupName": g.name, "thingGroupId": g.id, "thingGroupArn": c.w.thingGroupARN(g.name), "version": g.version,
		"thingGroupProperties": g.properties, "thingGroupMetadata": metadata,
	}, nil
}

// listThingGroups lists groups: all, or the direct children of parentGroup, or with
// recursive all below it. Without parentGroup, recursive=false lists the root groups
// (API reference, ListThingGroups: recursive "if true, return child groups as well").
func listThingGroups(c *call) (any, error) {
	parent, prefix := c.query.Get("parentGroup"), c.query.Get("namePrefixFilter")
	recursive, err := c.flag("recursive")
	if err != nil {
		return nil, err
	}
	if parent != "" {
		if _, err := c.w.findThingGroup(parent); err != nil {
			return nil, err
		}
	}
	all := parent == "" && (recursive || !c.query.Has("recursive"))
	var list []*thingGroup
	for _, g := range sorted(c.w.group.groups, func(g *thingGroup) int64 { return g.seq }) {
		below := all || g.parent == parent || recursive && slices.Contains(c.w.groupPath(g.parent), parent)
		if below && strings.HasPrefix(g.name, prefix) {
			list = append(list, g)
		}
	}
	return c.pageOfGroups(list)
}

func (c *call) pageOfGroups(list []*thingGroup) (any, error) {
	page, token, err := paginate(c, list, func(g *thingGroup) int64 { return g.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []groupNameAndARN{}
	for _, g := range page {
		out = append(out, groupNameAndARN{g.name, c.w.thingGroupARN(g.name)})
	}
	return withMarker(map[string]any{"thingGroups": out}, "nextToken", token), nil
}

func updateThingGroup(c *call) (any, error) {
	var in struct {
		Properties      *thingGroupProperties `json:"thingGroupProperties"`
		ExpectedVersion int64                 `json:"expectedVersion"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	g, err := c.w.findThingGroup(c.path["thingGroupName"])
	if err != nil {
		return nil, err
	}
	if in.Properties == nil {
		return nil, invalid("thingGroupProperties must be set")
	}
	if err := g.wantVersion(strconv.FormatInt(in.ExpectedVersion, 10)); in.ExpectedVersion != 0 && err != nil {
		return nil, err
	}
	next := *in.Properties
	if p := next.Attributes; p != nil {
		var old map[string]string
		if g.properties.Attributes != nil {
			old = g.properties.Attributes.Attributes
		}
		next.Attributes = &attributePayload{Attributes: p.apply(old)}
	}
	if err := next.check(); err != nil {
		return nil, err
	}
	g.properties = next
	g.version++
	return map[string]int64{"version": g.version}, nil
}

func (g *thingGroup) wantVersion(v string) error {
	if v != "" && v != strconv.FormatInt(g.version, 10) {
		return iotError("VersionConflictException", "the version of %s is %d, not %s", g.name, g.version, clip(v, 20))
	}
	return nil
}

// deleteThingGroup succeeds for a group that does not exist, and refuses one with
// child groups (AWS IoT developer guide, thing-groups). Its things stay.
func deleteThingGroup(c *call) (any, error) {
	g, ok := c.w.group.groups[c.path["thingGroupName"]]
	if !ok {
		return nil, nil
	}
	if err := g.wantVersion(c.query.Get("expectedVersion")); err != nil {
		return nil, err
	}
	if c.w.childGroups(g.name) > 0 {
		return nil, invalid("Cannot delete thing group %s: it has child groups", g.name)
	}
	delete(c.w.group.groups, g.name)
	delete(c.w.tags, c.w.thingGroupARN(g.name))
	return nil, nil
}

// MarshalJSON leaves out merge, which is an instruction and not part of what is
// stored.
func (p attributePayload) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"attributes": p.Attributes})
}

// apply returns old with the changes of p: all of it replaced, or with merge only
// what p names; an empty value removes (API reference, AttributePayload).
func (p *attributePayload) apply(old map[string]string) map[string]string {
	next := map[string]string{}
	if p.Merge {
		for k, v := range old {
			next[k] = v
		}
	}
	for k, v := range p.Attributes {
		if next[k] = v; v == "" {
			delete(next, k)
		}
	}
	return next
}
