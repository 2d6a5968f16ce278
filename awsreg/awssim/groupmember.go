package awssim

import "strings"

// addToGroup makes a thing a member of a static group, for the second time without
// effect. A thing is in at most ten groups, and in one of each hierarchy only (AWS
// IoT developer guide, thing-groups: a thing cannot be in two groups of one
// hierarchy). The caller holds w.mu.
func (w *world) addToGroup(thing, group string) error {
	g, err := w.findThingGroup(group)
	if err != nil {
		return err
	}
	if _, err := w.findThing(thing); err != nil {
		return err
	}
	if g.members[thing] {
		return nil
	}
	have := w.groupsOf(thing)
	if len(have) >= maxGroupsOfThing {
		return invalid("The thing %s is in %d groups, which is the most", thing, maxGroupsOfThing)
	}
	path := w.groupPath(group)
	root := path[len(path)-1]
	for _, other := range have {
		if up := w.groupPath(other.name); up[len(up)-1] == root {
			return invalid("The thing %s is in the group %s of the same hierarchy", thing, other.name)
		}
	}
	g.members[thing] = true
	return nil
}

// removeFromGroup ends a membership. The caller holds w.mu.
func (w *world) removeFromGroup(thing, group string) error {
	g, err := w.findThingGroup(group)
	if err != nil {
		return err
	}
	if _, err := w.findThing(thing); err != nil {
		return err
	}
	delete(g.members, thing)
	return nil
}

// groupsOf lists the groups that a thing is directly in, oldest first. The caller
// holds w.mu.
func (w *world) groupsOf(thing string) []*thingGroup {
	var out []*thingGroup
	for _, g := range sorted(w.group.groups, func(g *thingGroup) int64 { return g.seq }) {
		if g.members[thing] {
			out = append(out, g)
		}
	}
	return out
}

// dropMember removes a thing that is gone from every group.
func (w *world) dropMember(thing string) {
	for _, g := range w.group.groups {
		delete(g.members, thing)
	}
}

// membership is the request of both operations on one thing and one group. Names
// and ARNs may both be given and must then agree.
type membership struct {
	Override  bool   `json:"overrideDynamicGroups"` // there are no dynamic groups here
	ThingARN  string `json:"thingArn"`
	GroupARN  string `json:"thingGroupArn"`
	GroupName string `json:"thingGroupName"`
	ThingName string `json:"thingName"`
}

func (c *call) membership() (thing, group string, err error) {
	var in membership
	if err := c.decode(&in); err != nil {
		return "", "", err
	}
	if thing, err = nameOrARN(in.ThingName, in.ThingARN, c.w.thingARN("")); err != nil {
		return "", "", err
	}
	group, err = nameOrARN(in.GroupName, in.GroupARN, c.w.thingGroupARN(""))
	return thing, group, err
}

func nameOrARN(name, arn, prefix string) (string, error) {
	if arn == "" {
		if name == "" {
			return "", invalid("the name or the ARN of the thing and of the group must be set")
		}
		return name, nil
	}
	of, ok := strings.CutPrefix(arn, prefix)
	if !ok || name != "" && of != name {
		return "", invalid("%q is not the ARN of %q", clip(arn, 200), clip(name, 128))
	}
	return of, nil
}

func addThingToThingGroup(c *call) (any, error) {
	thing, group, err := c.membership()
	if err != nil {
		return nil, err
	}
	return nil, c.w.addToGroup(thing, group)
}

func removeThingFromThingGroup(c *call) (any, error) {
	thing, group, err := c.membership()
	if err != nil {
		return nil, err
	}
	return nil, c.w.removeFromGroup(thing, group)
}

// updateThingGroupsForThing removes first and then adds, so that a thing can move
// within a hierarchy. It stops at the first group that does not work.
func updateThingGroupsForThing(c *call) (any, error) {
	var in struct {
		Thing    string   `json:"thingName"`
		Add      []string `json:"thingGroupsToAdd"`
		Remove   []string `json:"thingGroupsToRemove"`
		Override bool     `json:"overrideDynamicGroups"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	for _, g := range in.Remove {
		if err := c.w.removeFromGroup(in.Thing, g); err != nil {
			return nil, err
		}
	}
	for _, g := range in.Add {
		if err := c.w.addToGroup(in.Thing, g); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func listThingsInThingGroup(c *call) (any, error) {
	g, err := c.w.findThingGroup(c.path["thingGroupName"])
	if err != nil {
		return nil, err
	}
	recursive, err := c.flag("recursive")
	if err != nil {
		return nil, err
	}
	within := map[string]bool{}
	for _, other := range c.w.group.groups {
		if other != g && !recursive {
			continue
		}
		for _, name := range c.w.groupPath(other.name) {
			if name == g.name {
				for m := range other.members {
					within[m] = true
				}
			}
		}
	}
	inside := func(th *thing) bool { return within[th.name] }
	page, token, err := paginateIf(c, c.w.thingsInOrder(), inside, func(t *thing) int64 { return t.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, th := range page {
		out = append(out, th.name)
	}
	return withMarker(map[string]any{"things": out}, "nextToken", token), nil
}

func listThingGroupsForThing(c *call) (any, error) {
	th, err := c.w.findThing(c.path["thingName"])
	if err != nil {
		return nil, err
	}
	return c.pageOfGroups(c.w.groupsOf(th.name))
}
