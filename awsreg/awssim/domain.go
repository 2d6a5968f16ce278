package awssim

// domainOperations are the operations of domain configurations and bulk registration.
var domainOperations = []iotOperation{}

// domainState is what a world keeps of them. World.mu guards it.
type domainState struct{}

func newDomainState() domainState { return domainState{} }
