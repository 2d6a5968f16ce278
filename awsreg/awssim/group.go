package awssim

// groupOperations are the operations of thing types and groups.
var groupOperations = []iotOperation{}

// groupState is what a world keeps of them. World.mu guards it.
type groupState struct{}

func newGroupState() groupState { return groupState{} }
