package awssim

// fleetOperations are the operations of fleet provisioning and what it issues: claims, certificates, RegisterThing,
// certificate providers.
var fleetOperations = []iotOperation{}

// fleetState is what a world keeps of them. World.mu guards it.
type fleetState struct{}

func newFleetState() fleetState { return fleetState{} }
