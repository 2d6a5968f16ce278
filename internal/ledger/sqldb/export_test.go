package sqldb

// ReplayInto is Replay for any number of logs.
var ReplayInto = replayInto
