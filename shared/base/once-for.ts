/**
 * What is made of an object, made once: for as long as somebody holds the object. `make` is pure, and what it is given never
 * changes.
 */
export function onceFor<Key extends object, Made>(make: (key: Key) => Made): (key: Key) => Made {
  const known = new WeakMap<Key, { readonly made: Made }>()
  return (key) => {
    let entry = known.get(key)
    if (entry === undefined) {
      entry = { made: make(key) }
      known.set(key, entry)
    }
    return entry.made
  }
}
