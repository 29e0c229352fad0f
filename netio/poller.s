// This file is empty: it lets poller.go declare openPoll without a body.
