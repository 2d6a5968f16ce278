package awssim

// groupOperations are the operations of thing types and static thing groups. Methods
// and paths were compared with serializers.go of aws-sdk-go-v2/service/iot v1.75.0.
var groupOperations = []iotOperation{
	{"CreateThingType", "POST", "/thing-types/{thingTypeName}", createThingType},
	{"DescribeThingType", "GET", "/thing-types/{thingTypeName}", describeThingType},
	{"ListThingTypes", "GET", "/thing-types", listThingTypes},
	{"DeprecateThingType", "POST", "/thing-types/{thingTypeName}/deprecate", deprecateThingType},
	{"DeleteThingType", "DELETE", "/thing-types/{thingTypeName}", deleteThingType},

	{"CreateThingGroup", "POST", "/thing-groups/{thingGroupName}", createThingGroup},
	{"DescribeThingGroup", "GET", "/thing-groups/{thingGroupName}", describeThingGroup},
	{"ListThingGroups", "GET", "/thing-groups", listThingGroups},
	{"UpdateThingGroup", "PATCH", "/thing-groups/{thingGroupName}", updateThingGroup},
	{"DeleteThingGroup", "DELETE", "/thing-groups/{thingGroupName}", deleteThingGroup},
	{"AddThingToThingGroup", "PUT", "/thing-groups/addThingToThingGroup", addThingToThingGroup},
	{"RemoveThingFromThingGroup", "PUT", "/thing-groups/removeThingFromThingGroup", removeThingFromThingGroup},
	{"UpdateThingGroupsForThing", "PUT", "/thing-groups/updateThingGroupsForThing", updateThingGroupsForThing},
	{"ListThingsInThingGroup", "GET", "/thing-groups/{thingGroupName}/things", listThingsInThingGroup},
	{"ListThingGroupsForThing", "GET", "/things/{thingName}/thing-groups", listThingGroupsForThing},

	{"ListThingPrincipalsV2", "GET", "/things/{thingName}/principals-v2", listThingPrincipalsV2},
	{"ListPrincipalThingsV2", "GET", "/principals/things-v2", listPrincipalThingsV2},
}

// groupState is what a world keeps of them. World.mu guards it.
type groupState struct {
	types  map[string]*thingType
	groups map[string]*thingGroup
}

func newGroupState() groupState {
	return groupState{types: map[string]*thingType{}, groups: map[string]*thingGroup{}}
}

// thingTypeExists reports whether there is a thing type of that name, deprecated
// or not. The caller holds w.mu.
func (w *world) thingTypeExists(name string) bool { return w.group.types[name] != nil }

// thingGroupExists reports whether there is a thing group of that name. The caller
// holds w.mu.
func (w *world) thingGroupExists(name string) bool { return w.group.groups[name] != nil }
