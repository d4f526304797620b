#!/usr/bin/env python3
"""A stand-in for kubectl: objects as JSON in the folder that STAND names, under a lock.

It speaks what the tool says: get, patch, auth can-i. It keeps resourceVersion and generation as an
API server does, and plays the controllers where `settings.json` says so. `faults.json` tells it to
refuse, to conflict, to hang and to die, before or after the change. Where the settings name a `real`
kubectl, the faults are the same and the answers are those of its cluster.

A night calls it hundreds of times: modules that few calls need are imported where they do.
"""

import fcntl
import json
import os
import signal
import sys
import time


def fail(reason, said):
    sys.stderr.write(f"Error from server ({reason}): {said}\n")
    sys.exit(1)


def options(argv):
    """Splits a command line into words and options; every option has a value but some."""
    flags = {"--ignore-not-found"}
    words, given, rest = [], {}, list(argv)
    while rest:
        one = rest.pop(0)
        if not one.startswith("--"):
            words.append(one)
        elif "=" in one:
            name, value = one.split("=", 1)
            given[name] = value
        elif one in flags:
            given[one] = ""
        else:
            given[one] = rest.pop(0)
    return words, given


class Store:
    """The objects of a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = open(os.path.join(folder, "lock"), "a")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.objects = self.read("objects.json", {})
        self.settings = self.read("settings.json", {})

    def read(self, name, default):
        try:
            with open(os.path.join(self.folder, name)) as file:
                return json.load(file)
        except FileNotFoundError:
            return default

    def write(self, name, value):
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w") as file:
            json.dump(value, file, indent=1)
        os.replace(path + ".new", path)

    def note(self, argv):
        with open(os.path.join(self.folder, "calls.jsonl"), "a") as file:
            file.write(json.dumps({"at": time.time(), "argv": argv}) + "\n")

    def fault(self, argv):
        """The first fault that fits the command line and has not been used up."""
        faults = self.read("faults.json", [])
        line = " ".join(argv)
        for fault in faults:
            if fault["match"] in line and fault["times"] > 0:
                fault["times"] -= 1
                self.write("faults.json", faults)
                return fault["kind"]
        return None

    def unlock(self):
        fcntl.flock(self.lock, fcntl.LOCK_UN)

    def save(self):
        self.write("objects.json", self.objects)


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def labels_fit(labels, selector):
    for part in selector.split(","):
        name, _, value = part.partition("=")
        if labels.get(name) != value:
            return False
    return True


def control(store, key, changed):
    """What controllers would do about a change, at once."""
    if not store.settings.get("controllers"):
        return
    resource, namespace, name = key.split("/", 2)
    if resource != "deployments.apps":
        return
    replicas = changed["spec"].get("replicas", 1)
    generation = changed["metadata"]["generation"]
    changed["status"] = {"observedGeneration": generation, "readyReplicas": replicas}
    labels = changed["spec"]["selector"]["matchLabels"]
    for pod in [pod for pod in store.objects if pod.startswith(f"pods/{namespace}/{name}-")]:
        del store.objects[pod]
    for number in range(replicas):
        pod = f"{name}-{generation}-{number}"
        store.objects[f"pods/{namespace}/{pod}"] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": namespace, "labels": labels},
            "status": {"phase": "Running", "podIP": f"10.42.0.{number + 1}"},
        }


def get(store, words, given, namespace):
    resource = words[1]
    if len(words) == 2:
        found = [o for k, o in store.objects.items() if k.startswith(f"{resource}/{namespace}/")]
        selector = given.get("--selector")
        if selector:
            found = [o for o in found if labels_fit(o["metadata"].get("labels", {}), selector)]
        pass_time(store, resource, namespace)
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))
        return
    object = store.objects.get(f"{resource}/{namespace}/{words[2]}")
    if object is None:
        if "--ignore-not-found" not in given:
            fail("NotFound", f'{resource} "{words[2]}" not found')
        return
    print(json.dumps(object))


def pass_time(store, resource, namespace):
    """A running job ends after it was looked at so often as its label says."""
    if resource != "jobs.batch":
        return
    for key, job in store.objects.items():
        labels = job["metadata"].get("labels", {})
        if not key.startswith(resource) or "looks-left" not in labels:
            continue
        left = labels["looks-left"]
        job["metadata"]["labels"]["looks-left"] = left - 1
        if left <= 1:
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
            del job["metadata"]["labels"]["looks-left"]
    store.save()


def validate_slice(name, slice):
    """kubectl tells of what is invalid in words of its own."""
    import ipaddress

    for number, endpoint in enumerate(slice["endpoints"]):
        for place, address in enumerate(endpoint["addresses"]):
            if ipaddress.ip_address(address).is_loopback:
                sys.stderr.write(
                    f'The EndpointSlice "{name}" is invalid: endpoints[{number}].addresses'
                    f'[{place}]: Invalid value: "{address}": may not be in the loopback range '
                    "(127.0.0.0/8, ::1/128)\n")
                sys.exit(1)


def patch(store, words, given, namespace, fault):
    resource, name = words[1], words[2]
    key = f"{resource}/{namespace}/{name}"
    if given.get("--type") != "merge" or "--patch" in given:
        fail("BadRequest", "only --type merge with --patch-file is spoken here")
    with open(given["--patch-file"]) as file:
        wanted = json.load(file)
    object = store.objects.get(key)
    if object is None:
        fail("NotFound", f'{resource} "{name}" not found')
    version = wanted.get("metadata", {}).get("resourceVersion")
    if fault == "conflict":
        # Somebody else was faster, by a change that matters to nobody.
        object["metadata"]["resourceVersion"] = str(int(object["metadata"]["resourceVersion"]) + 1)
        store.save()
    if version is not None and version != object["metadata"]["resourceVersion"]:
        fail("Conflict", f'Operation cannot be fulfilled on {resource} "{name}": the object has '
             "been modified; please apply your changes to the latest version and try again")
    changed = merge(object, wanted)
    if resource.startswith("endpointslices"):
        validate_slice(name, changed)
    if given.get("--dry-run") == "server":
        return
    metadata = changed["metadata"]
    metadata["resourceVersion"] = str(int(object["metadata"]["resourceVersion"]) + 1)
    if changed.get("spec") != object.get("spec"):
        metadata["generation"] = object["metadata"].get("generation", 0) + 1
    store.objects[key] = changed
    control(store, key, changed)
    store.save()


def can(store, words):
    refused = store.settings.get("refused", [])
    answer = "no" if f"{words[2]} {words[3]}" in refused else "yes"
    print(answer)
    sys.exit(0 if answer == "yes" else 1)


def forward(store, words, given, fault):
    """Lets a real kubectl answer, whatever context the tool was told."""
    import subprocess

    real = store.settings["real"]
    store.unlock()
    base = [real["program"], "--kubeconfig", real["kubeconfig"], "--context", real["context"]]
    if real.get("as"):
        base += ["--as", real["as"]]
    rest, argv = [], sys.argv[1:]
    while argv:
        one = argv.pop(0)
        if one in ("--kubeconfig", "--context"):
            argv.pop(0)
        else:
            rest.append(one)
    if fault == "conflict" and words[0] == "patch":
        # Somebody else is faster, by a change that leaves nothing behind.
        for change in ["xtask.test/faster=true", "xtask.test/faster-"]:
            subprocess.run(base + ["--namespace", given["--namespace"], "annotate", words[1],
                                   words[2], change], check=True, stdout=subprocess.DEVNULL)
    code = subprocess.call(base + rest)
    if code != 0:
        sys.exit(code)


def main():
    words, given = options(sys.argv[1:])
    store = Store(os.environ["STAND"])
    for needed in ["--context", "--namespace", "--request-timeout"]:
        if needed not in given and not store.settings.get("real"):
            sys.exit(f"the stand-in wants {needed}")
    namespace = given.get("--namespace")
    if store.settings.get("context", given["--context"]) != given["--context"]:
        sys.exit(f'error: context "{given["--context"]}" does not exist')
    store.note(sys.argv[1:])
    fault = store.fault(sys.argv[1:])
    if fault == "refuse":
        fail("Forbidden", "the stand-in was told to refuse")
    if fault == "hang":
        store.unlock()
        time.sleep(3600)
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if store.settings.get("real"):
        forward(store, words, given, fault)
    elif words[0] == "get":
        get(store, words, given, namespace)
    elif words[0] == "patch":
        patch(store, words, given, namespace, fault)
    elif words[:2] == ["auth", "can-i"]:
        can(store, words)
    else:
        sys.exit(f"the stand-in does not speak {words[0]}")
    sys.stdout.flush()
    if fault == "die after":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang after":
        store.unlock()
        time.sleep(3600)


main()
