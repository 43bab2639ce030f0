"""Work for python3 whose results are known: threads, processes, large and small objects, text, numbers."""

import array
import collections
import concurrent.futures
import ctypes
import hashlib
import json
import mmap
import multiprocessing
import re
import subprocess
import sys
import zlib


def sums(seed):
    words = collections.Counter()
    for n in range(20_000):
        words[f"w{(n * seed) % 997}"] += n
    text = json.dumps(words, sort_keys=True)
    packed = zlib.compress(text.encode() * 20)
    assert json.loads(zlib.decompress(packed)[: len(text)].decode()) == words
    return hashlib.sha256(packed).hexdigest()


def main():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(list(pool.map(sums, range(1, 25)))[-1])
    with multiprocessing.get_context("fork").Pool(4) as pool:
        print(pool.map(sums, range(25, 49))[-1])
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(sums, range(49, 53))[-1])
    print(subprocess.run([sys.executable, "-c", "print(sum(range(10**5)))"], capture_output=True, text=True, check=True).stdout)
    buffers = [bytearray(n * 4099 % 3_000_000) for n in range(400)]
    for n, buffer in enumerate(buffers):
        buffer.extend(bytes([n % 256]) * 1000)
    print(hashlib.sha256(b"".join(buffers[::7])).hexdigest())
    numbers = array.array("q", range(500_000))
    for _ in range(6):
        numbers.extend(numbers[: len(numbers) // 2])
    print(len(numbers), sum(numbers) % 1_000_003)
    with mmap.mmap(-1, 1 << 22) as memory:
        memory[:5] = b"hello"
        print(memory[:5], len(re.findall(rb"\x00+", memory[:])))
    raw = (ctypes.c_char * 100_000)()
    ctypes.memset(raw, 7, 100_000)
    print(sum(bytes(raw)))


if __name__ == "__main__":
    main()
