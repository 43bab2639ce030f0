// Work for a JVM: threads, collections, direct buffers, compression, the compiler that runs it.
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import java.util.zip.*;

public class Work {
    static long work(int seed) throws Exception {
        Map<String, List<Integer>> map = new TreeMap<>();
        for (int n = 0; n < 100_000; n++) map.computeIfAbsent("k" + (long) n * seed % 997, k -> new ArrayList<>()).add(n);
        byte[] text = map.toString().getBytes("UTF-8");
        Deflater deflater = new Deflater();
        deflater.setInput(text);
        deflater.finish();
        byte[] packed = new byte[text.length + 100];
        int bytes = deflater.deflate(packed);
        deflater.end();
        Inflater inflater = new Inflater();
        inflater.setInput(packed, 0, bytes);
        byte[] again = new byte[text.length];
        if (inflater.inflate(again) != text.length || !Arrays.equals(text, again)) throw new Exception("inflate");
        inflater.end();
        long sum = Arrays.hashCode(text);
        for (int n = 0; n < 200; n++) {
            ByteBuffer direct = ByteBuffer.allocateDirect(1 + n * 7919 % 300_000);
            direct.put(0, (byte) n);
            sum += direct.get(0) * direct.capacity();
        }
        return sum;
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Long>> results = IntStream.rangeClosed(1, 12).mapToObj(seed -> pool.submit(() -> work(seed))).collect(Collectors.toList());
        for (Future<Long> result : results) System.out.println(result.get());
        pool.shutdown();
    }
}
