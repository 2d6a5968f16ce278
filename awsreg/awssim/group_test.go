package awssim

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

func attributes(n int) map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprintf("a%d", i)] = "v"
	}
	return out
}

func TestThingTypes(t *testing.T) {
	at := time.Now()
	s := startSim(t, func(c *Config) { c.Now = func() time.Time { return at } })
	c := s.client(first, region)
	create := func(name string, searchable ...string) error {
		_, err := c.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: &name, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
			ThingTypeProperties: &types.ThingTypeProperties{ThingTypeDescription: aws.String("a pump"), SearchableAttributes: searchable}})
		return err
	}
	wantCode(t, create("pump", "line", "site", "model"), "")
	wantCode(t, create("pump"), "ResourceAlreadyExistsException")
	wantCode(t, create("four", "a", "b", "c", "d"), "InvalidRequestException")
	wantCode(t, create("bad name"), "InvalidRequestException")
	wantCode(t, create("bad", "a b"), "InvalidRequestException")
	_, err := c.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String("m"), ThingTypeProperties: &types.ThingTypeProperties{Mqtt5Configuration: &types.Mqtt5Configuration{}}})
	wantCode(t, err, "SimulatorNotImplemented")
	d, err := c.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: aws.String("pump")})
	if err != nil || *d.ThingTypeProperties.ThingTypeDescription != "a pump" || len(d.ThingTypeProperties.SearchableAttributes) != 3 || d.ThingTypeMetadata.Deprecated || d.ThingTypeId == nil {
		t.Errorf("type: %+v %v", d, err)
	}
	tags, err := c.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: d.ThingTypeArn})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("tags: %+v %v", tags, err)
	}

	// With a type a thing may have 50 attributes, without one three.
	thing := func(name, typeName string, n int) error {
		_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name, ThingTypeName: aws.String(typeName), AttributePayload: &types.AttributePayload{Attributes: attributes(n)}})
		return err
	}
	wantCode(t, thing("p-1", "pump", 50), "")
	wantCode(t, thing("p-1", "pump", 50), "")
	wantCode(t, thing("p-1", "pump", 49), "ResourceAlreadyExistsException")
	wantCode(t, thing("p-2", "pump", 51), "InvalidRequestException")
	wantCode(t, thing("p-2", "nothing", 1), "ResourceNotFoundException")
	_, err = c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("p-3"), AttributePayload: &types.AttributePayload{Attributes: attributes(4)}})
	wantCode(t, err, "InvalidRequestException")
	_, err = c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("plain"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"a0": "value"}}})
	wantCode(t, err, "")
	names := func(in *iot.ListThingsInput) string {
		t.Helper()
		out, err := c.ListThings(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		list := ""
		for _, th := range out.Things {
			list += *th.ThingName + " "
		}
		return list
	}
	if got := names(&iot.ListThingsInput{ThingTypeName: aws.String("pump")}); got != "p-1 " {
		t.Errorf("things of the type: %s", got)
	}
	if got := names(&iot.ListThingsInput{AttributeName: aws.String("a0"), AttributeValue: aws.String("v"), UsePrefixAttributeValue: true}); got != "p-1 plain " {
		t.Errorf("things by prefix: %s", got)
	}
	if got := names(&iot.ListThingsInput{AttributeName: aws.String("a0"), AttributeValue: aws.String("v")}); got != "p-1 " {
		t.Errorf("things by value: %s", got)
	}
	update := func(in iot.UpdateThingInput) error {
		in.ThingName = aws.String("p-1")
		_, err := c.UpdateThing(ctx, &in)
		return err
	}
	wantCode(t, update(iot.UpdateThingInput{RemoveThingType: true}), "InvalidRequestException") // 50 attributes
	wantCode(t, update(iot.UpdateThingInput{RemoveThingType: true, ThingTypeName: aws.String("pump")}), "InvalidRequestException")
	wantCode(t, update(iot.UpdateThingInput{RemoveThingType: true, AttributePayload: &types.AttributePayload{Attributes: attributes(2)}}), "")
	wantCode(t, update(iot.UpdateThingInput{ThingTypeName: aws.String("nothing")}), "ResourceNotFoundException")
	wantCode(t, update(iot.UpdateThingInput{ThingTypeName: aws.String("pump")}), "")

	// Deprecated first, then nobody's, then five minutes later.
	remove := func() error {
		_, err := c.DeleteThingType(ctx, &iot.DeleteThingTypeInput{ThingTypeName: aws.String("pump")})
		return err
	}
	deprecate := func(undo bool) {
		t.Helper()
		_, err := c.DeprecateThingType(ctx, &iot.DeprecateThingTypeInput{ThingTypeName: aws.String("pump"), UndoDeprecate: undo})
		wantCode(t, err, "")
	}
	wantCode(t, remove(), "InvalidRequestException")
	deprecate(false)
	wantCode(t, thing("p-4", "pump", 1), "InvalidRequestException")
	deprecate(true)
	wantCode(t, thing("p-4", "pump", 1), "")
	deprecate(false)
	at = at.Add(4 * time.Minute)
	wantCode(t, remove(), "InvalidRequestException")
	at = at.Add(time.Minute)
	wantCode(t, remove(), "InvalidRequestException") // things have it
	wantCode(t, update(iot.UpdateThingInput{RemoveThingType: true}), "")
	_, err = c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: aws.String("p-4")})
	wantCode(t, err, "")
	wantCode(t, remove(), "")
	if out, err := c.ListThingTypes(ctx, &iot.ListThingTypesInput{}); err != nil || len(out.ThingTypes) != 0 {
		t.Errorf("types: %+v %v", out, err)
	}
}

func TestThingGroups(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	create := func(name, parent string) error {
		in := &iot.CreateThingGroupInput{ThingGroupName: &name, ThingGroupProperties: &types.ThingGroupProperties{
			ThingGroupDescription: aws.String("d"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"k": "v"}}}}
		if parent != "" {
			in.ParentGroupName = &parent
		}
		_, err := c.CreateThingGroup(ctx, in)
		return err
	}
	wantCode(t, create("plant", ""), "")
	wantCode(t, create("hall", "plant"), "")
	wantCode(t, create("line", "hall"), "")
	wantCode(t, create("office", ""), "")
	wantCode(t, create("office", ""), "ResourceAlreadyExistsException")
	wantCode(t, create("x", "nowhere"), "ResourceNotFoundException")
	wantCode(t, create("bad name", ""), "InvalidRequestException")
	for i := 4; i <= 8; i++ { // seven levels
		want := ""
		if i == 8 {
			want = "InvalidRequestException"
		}
		parent := fmt.Sprintf("level-%d", i-1)
		if i == 4 {
			parent = "line"
		}
		wantCode(t, create(fmt.Sprintf("level-%d", i), parent), want)
	}
	d, err := c.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String("line")})
	if err != nil || *d.ThingGroupMetadata.ParentGroupName != "hall" || len(d.ThingGroupMetadata.RootToParentThingGroups) != 2 ||
		*d.ThingGroupMetadata.RootToParentThingGroups[0].GroupName != "plant" || d.Version != 1 || d.ThingGroupProperties.AttributePayload.Attributes["k"] != "v" {
		t.Errorf("group: %+v %v", d, err)
	}
	update := func(version int64, value string) error {
		_, err := c.UpdateThingGroup(ctx, &iot.UpdateThingGroupInput{ThingGroupName: aws.String("line"), ExpectedVersion: aws.Int64(version), ThingGroupProperties: &types.ThingGroupProperties{
			AttributePayload: &types.AttributePayload{Attributes: map[string]string{"new": value}, Merge: true}}})
		return err
	}
	wantCode(t, update(7, "x"), "VersionConflictException")
	wantCode(t, update(1, "x"), "")
	wantCode(t, update(2, "not allowed!"), "InvalidRequestException")
	if d, err = c.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String("line")}); err != nil || len(d.ThingGroupProperties.AttributePayload.Attributes) != 2 || d.Version != 2 {
		t.Errorf("group: %+v %v", d, err)
	}
	groups := func(in *iot.ListThingGroupsInput) string {
		t.Helper()
		out, err := c.ListThingGroups(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		list := ""
		for _, g := range out.ThingGroups {
			list += *g.GroupName + " "
		}
		return list
	}
	for want, in := range map[string]*iot.ListThingGroupsInput{
		"hall ": {ParentGroup: aws.String("plant"), Recursive: aws.Bool(false)}, "plant office ": {Recursive: aws.Bool(false)},
		"hall line level-4 level-5 level-6 level-7 ": {ParentGroup: aws.String("plant"), Recursive: aws.Bool(true)}, "level-6 ": {NamePrefixFilter: aws.String("level-6")},
	} {
		if got := groups(in); got != want {
			t.Errorf("groups %q, want %q", got, want)
		}
	}

	for _, name := range []string{"p-1", "p-2"} {
		_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name})
		wantCode(t, err, "")
	}
	add := func(thing, group string) error {
		_, err := c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: &thing, ThingGroupName: &group})
		return err
	}
	wantCode(t, add("p-1", "line"), "")
	wantCode(t, add("p-1", "line"), "")
	wantCode(t, add("p-1", "office"), "")
	wantCode(t, add("p-1", "hall"), "InvalidRequestException") // the same hierarchy
	wantCode(t, add("p-1", "nowhere"), "ResourceNotFoundException")
	wantCode(t, add("nobody", "line"), "ResourceNotFoundException")
	_, err = c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingArn: aws.String("arn:aws:iot:eu-central-1:111122223333:thing/p-2"), ThingGroupArn: d.ThingGroupArn})
	wantCode(t, err, "")
	_, err = c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("p-1"), ThingGroupArn: aws.String("arn:aws:iot:eu-central-1:444455556666:thinggroup/line")})
	wantCode(t, err, "InvalidRequestException")
	in := func(group string, recursive bool) int {
		t.Helper()
		out, err := c.ListThingsInThingGroup(ctx, &iot.ListThingsInThingGroupInput{ThingGroupName: &group, Recursive: recursive})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Things)
	}
	if in("line", false) != 2 || in("plant", false) != 0 || in("plant", true) != 2 {
		t.Errorf("things: %d %d %d", in("line", false), in("plant", false), in("plant", true))
	}
	of := func(thing string) int {
		t.Helper()
		out, err := c.ListThingGroupsForThing(ctx, &iot.ListThingGroupsForThingInput{ThingName: &thing})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.ThingGroups)
	}
	for i := range 9 { // ten groups at most; it is in two
		want := ""
		if i == 8 {
			want = "InvalidRequestException"
		}
		name := fmt.Sprintf("extra-%d", i)
		wantCode(t, create(name, ""), "")
		wantCode(t, add("p-1", name), want)
	}
	if of("p-1") != 10 {
		t.Errorf("p-1 is in %d groups", of("p-1"))
	}
	_, err = c.UpdateThingGroupsForThing(ctx, &iot.UpdateThingGroupsForThingInput{ThingName: aws.String("p-1"), ThingGroupsToRemove: []string{"line", "extra-0"}, ThingGroupsToAdd: []string{"hall"}})
	wantCode(t, err, "")
	_, err = c.RemoveThingFromThingGroup(ctx, &iot.RemoveThingFromThingGroupInput{ThingName: aws.String("p-2"), ThingGroupName: aws.String("line")})
	wantCode(t, err, "")
	if of("p-1") != 9 || of("p-2") != 0 || in("plant", true) != 1 {
		t.Errorf("groups %d %d, things %d", of("p-1"), of("p-2"), in("plant", true))
	}
	_, err = c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: aws.String("p-1")})
	wantCode(t, err, "")
	if in("plant", true) != 0 {
		t.Error("a thing that is gone is in a group")
	}
	remove := func(name string) error {
		_, err := c.DeleteThingGroup(ctx, &iot.DeleteThingGroupInput{ThingGroupName: &name})
		return err
	}
	wantCode(t, remove("plant"), "InvalidRequestException") // has children
	wantCode(t, remove("office"), "")
	wantCode(t, remove("office"), "")
	_, err = c.DeleteThingGroup(ctx, &iot.DeleteThingGroupInput{ThingGroupName: aws.String("line"), ExpectedVersion: aws.Int64(9)})
	wantCode(t, err, "VersionConflictException")
}

func TestThingPrincipalsV2(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Principals CA")
	ca.mustRegister(t, c)
	_, _, exclusive := activeDevice(t, c, ca, "a")
	_, _, shared := activeDevice(t, c, ca, "b")
	_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("p-1")})
	wantCode(t, err, "")
	for arn, kind := range map[string]types.ThingPrincipalType{exclusive: types.ThingPrincipalTypeExclusiveThing, shared: ""} {
		_, err := c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("p-1"), Principal: &arn, ThingPrincipalType: kind})
		wantCode(t, err, "")
	}
	for kind, want := range map[types.ThingPrincipalType][]string{"": {exclusive, shared}, types.ThingPrincipalTypeExclusiveThing: {exclusive}, types.ThingPrincipalTypeNonExclusiveThing: {shared}} {
		out, err := c.ListThingPrincipalsV2(ctx, &iot.ListThingPrincipalsV2Input{ThingName: aws.String("p-1"), ThingPrincipalType: kind})
		if err != nil || len(out.ThingPrincipalObjects) != len(want) || *out.ThingPrincipalObjects[0].Principal != want[0] {
			t.Errorf("principals of %q: %+v %v", kind, out, err)
		}
	}
	out, err := c.ListPrincipalThingsV2(ctx, &iot.ListPrincipalThingsV2Input{Principal: &exclusive})
	if err != nil || len(out.PrincipalThingObjects) != 1 || out.PrincipalThingObjects[0].ThingPrincipalType != types.ThingPrincipalTypeExclusiveThing {
		t.Errorf("things: %+v %v", out, err)
	}
	if out, err := c.ListPrincipalThingsV2(ctx, &iot.ListPrincipalThingsV2Input{Principal: &exclusive, ThingPrincipalType: types.ThingPrincipalTypeNonExclusiveThing}); err != nil || len(out.PrincipalThingObjects) != 0 {
		t.Errorf("things: %+v %v", out, err)
	}
	_, err = c.ListThingPrincipalsV2(ctx, &iot.ListThingPrincipalsV2Input{ThingName: aws.String("p-1"), ThingPrincipalType: "SOME"})
	wantCode(t, err, "InvalidRequestException")
}
